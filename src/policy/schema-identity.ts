/** The keys of identity and TLS: who this service is, who may come in, and how upstreams are reached. */

import { DEFAULTS } from "./defaults.ts";
import { byDefault, flag, optional, required, text, wordOr } from "./schema-values.ts";
import { choice, type Output, object } from "./shape.ts";
import { parseFilePath, parseHostName, parseServiceIdentity } from "./values.ts";

const file = text("file path", parseFilePath);
const version = choice(["1.2", "1.3"]);

/** Exactly one of `files` and `nexus`. */
export const identity = object({
	files: optional(
		object({
			cert: required(file, "The certificate of this service and what links it to its root (PEM)."),
			key: required(file, "Its private key (PEM, without a passphrase)."),
			ca: required(file, "The roots of the trust domain (PEM); several while one follows another."),
		}),
		"Files that something else renews: cert-manager, a SPIRE helper, Vault agent. They are watched; paths are relative to the policy file.",
	),
	nexus: optional(
		object({ tokenFile: required(file, "Holds the join token of `nexus token create`; needed for the first certificate.") }),
		"The authority of Nexus at `nexus.url`: the sidecar makes its own key, and renews in time.",
	),
	cacheDir: optional(
		file,
		"Where key, certificate and trust bundle are kept (mode 0600), so that a restart needs neither Nexus nor a token. Without it they stay in memory.",
	),
});

export const inboundTls = wordOr(
	["strict", "permissive", "off"],
	object({
		mode: optional(
			choice(["strict", "permissive", "off"]),
			"`strict` takes TLS with a certificate of the mesh, `permissive` plain text as well, `off` plain text alone. `strict` where an identity is configured.",
		),
		minVersion: byDefault(version, DEFAULTS.inboundTlsVersion, "The oldest version of TLS that is spoken."),
	}),
	(mode) => ({ mode, minVersion: DEFAULTS.inboundTlsVersion }),
);

export const upstreamTls = wordOr(
	["strict", "off"],
	object({
		service: optional(
			text("service or SPIFFE ID", parseServiceIdentity),
			"Whom its endpoints must prove to be: a service of this mesh, or spiffe://other.domain/name. By default the upstream's name.",
		),
		external: byDefault(flag, false, "Whether it is outside of the mesh: ordinary TLS, with a check of its host name."),
		serverName: optional(text("host name", parseHostName), "Its name in SNI and in its certificate (external)."),
		ca: optional(
			text("`system` or file path", parseFilePath),
			"The roots that it is checked against: those of this machine, or of a PEM file (external).",
		),
		minVersion: optional(version, "The oldest version of TLS that is spoken (external); 1.2 where nothing is said."),
	}),
	(mode) => ({ mode }),
);

export type IdentityConfig = Output<typeof identity>;
export type InboundTlsConfig = Output<typeof inboundTls>;
export type UpstreamTlsConfig = Output<typeof upstreamTls>;
