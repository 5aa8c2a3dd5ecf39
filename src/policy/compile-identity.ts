/** Identity and TLS: typed configuration -> what the data plane runs. Nothing can fail here any more. */
import { dirname, resolve } from "node:path";
import { DEFAULTS } from "./defaults.ts";
import type { IdentityPolicy, InboundTls, TlsVersion, UpstreamTls } from "./identity-policy.ts";
import type { Places } from "./places.ts";
import type { IdentityConfig, InboundTlsConfig, UpstreamTlsConfig } from "./schema-identity.ts";

/** `file`: of the policy, which paths are relative to. */
export function compileIdentity(config: IdentityConfig | undefined, file: string, places: Places): IdentityPolicy | undefined {
	if (config === undefined) return undefined;
	const at = (path: string): string => resolve(dirname(file), path);
	const place = places.of(["identity"]);
	const { files, nexus, cacheDir } = config;
	if (files !== undefined) return { place, kind: "files", cert: at(files.cert), key: at(files.key), ca: at(files.ca) };
	if (nexus === undefined) return undefined;
	return { place, kind: "nexus", tokenFile: at(nexus.tokenFile), cacheDir: cacheDir && at(cacheDir) };
}

export function compileInboundTls(config: InboundTlsConfig | undefined, hasIdentity: boolean, places: Places): InboundTls {
	return {
		place: config && places.of(["inbound", "tls"]),
		mode: config?.mode ?? (hasIdentity ? "strict" : "off"),
		minVersion: versionOf(config?.minVersion ?? DEFAULTS.inboundTlsVersion),
	};
}

export function compileUpstreamTls(
	config: UpstreamTlsConfig | undefined,
	name: string,
	{ trustDomain, hasIdentity, file }: { readonly trustDomain: string; readonly hasIdentity: boolean; readonly file: string },
): UpstreamTls {
	if (config === undefined ? !hasIdentity : "mode" in config && config.mode === "off") return { kind: "off" };
	const {
		external,
		serverName = "",
		ca,
		service = name,
		minVersion,
	}: Partial<Exclude<UpstreamTlsConfig, { mode: string }>> = config === undefined || "mode" in config ? {} : config;
	if (external !== true) return { kind: "mesh", expected: service.startsWith("spiffe://") ? service : `spiffe://${trustDomain}/${service}` };
	return {
		kind: "external",
		serverName,
		ca: ca === undefined || ca === "system" ? { kind: "system" } : { kind: "file", path: resolve(dirname(file), ca) },
		minVersion: versionOf(minVersion ?? "1.2"),
	};
}

function versionOf(written: "1.2" | "1.3"): TlsVersion {
	return `TLSv${written}`;
}
