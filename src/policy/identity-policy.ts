/** Who this service is, and how its connections are encrypted, as a policy says it, part of the snapshot. Types only. */
import type { Place } from "./snapshot.ts";

export type TlsVersion = "TLSv1.2" | "TLSv1.3";

/** Where the certificate of this service comes from. Paths are absolute. */
export type IdentityPolicy = { readonly place: Place } & (
	| {
			/** PEM files that somebody else renews; watched. */
			readonly kind: "files";
			readonly cert: string;
			readonly key: string;
			/** The roots of the trust domain. */
			readonly ca: string;
	  }
	| {
			/** The authority of Nexus (`nexus.url`), which is asked again before each certificate ends. */
			readonly kind: "nexus";
			/** Holds a join token, for the first time and for when the last certificate has ended. */
			readonly tokenFile: string;
			/** Where key, certificate and bundle are kept from one start to the next; undefined: in memory alone. */
			readonly cacheDir: string | undefined;
	  }
);

/** strict: TLS with a certificate of the mesh · permissive: that, or plain text · off: plain text. */
export type InboundTlsMode = "strict" | "permissive" | "off";

export interface InboundTls {
	/** Undefined where nobody wrote a line for it. */
	readonly place: Place | undefined;
	/** Default: strict where an identity is configured, else off. */
	readonly mode: InboundTlsMode;
	readonly minVersion: TlsVersion;
}

/** Towards an upstream. Default: mesh where an identity is configured, else off. */
export type UpstreamTls =
	| { readonly kind: "off" }
	| {
			/** Mutual TLS with a service of the mesh. */
			readonly kind: "mesh";
			/** The SPIFFE ID that its endpoints must show. Default: the upstream's name in our trust domain. */
			readonly expected: string;
	  }
	| {
			/** Ordinary TLS with a service outside of the mesh, which gets to see no certificate of ours. */
			readonly kind: "external";
			/** Sent as SNI, and the name that the certificate must have. */
			readonly serverName: string;
			/** Roots: those of this machine, or of a PEM file (absolute path). */
			readonly ca: { readonly kind: "system" } | { readonly kind: "file"; readonly path: string };
			/** Default 1.2: not everybody outside speaks 1.3. */
			readonly minVersion: TlsVersion;
	  };
