/** What no single key of identity and TLS can tell: sources that exclude each other, encryption without a certificate. */
import type { Report } from "./cross-checks.ts";
import { list, type Mapping, mapping, text, texts } from "./plain.ts";
import type { Path } from "./tree.ts";

const EXTERNAL_KEYS = ["serverName", "ca", "minVersion"];
const ADD_IDENTITY = "add `identity: { files: ... }` or `identity: { nexus: ... }`";

export function checkIdentity(policy: Mapping, report: Report): void {
	const identity = mapping(policy.identity);
	if (identity !== undefined) {
		const { files, nexus, cacheDir } = identity;
		if (files === undefined && nexus === undefined) report(["identity"], "key", "no source of the identity is given", "give `files` or `nexus`");
		if (files !== undefined && nexus !== undefined)
			report(["identity", "nexus"], "key", "`files` and `nexus` are both given", "keep one: a service has one certificate");
		if (files !== undefined && cacheDir !== undefined)
			report(["identity", "cacheDir"], "key", "`cacheDir` does not act with `files`", "the files are kept already: remove it");
		if (nexus !== undefined && policy.nexus === undefined)
			report(["identity", "nexus"], "key", "`identity.nexus` does not act without `nexus.url`", "add `nexus: { url: https://... }`");
		const url = text(mapping(policy.nexus)?.url) ?? "";
		if (nexus !== undefined && url.startsWith("http://"))
			report(["nexus", "url"], "value", "certificates are asked for over TLS alone", "write https:// for a Nexus with `authority`");
	}
	checkInboundTls(policy, identity !== undefined, report);
}

function checkInboundTls(policy: Mapping, hasIdentity: boolean, report: Report): void {
	const inbound = mapping(policy.inbound);
	if (inbound === undefined) return;
	const given = mapping(inbound.tls)?.mode ?? inbound.tls;
	const mode = text(given) ?? (hasIdentity ? "strict" : "off");
	if (!hasIdentity && (mode === "strict" || mode === "permissive"))
		report(["inbound", "tls"], "value", "TLS needs a certificate, and this policy has no identity", ADD_IDENTITY);
	if (mode !== "off") return;
	list(mapping(inbound.authorization)?.rules).forEach((rule, i) => {
		const from = texts(mapping(rule)?.from);
		if (from.length === 0 || from.includes("unauthenticated")) return;
		report(
			["inbound", "authorization", "rules", i, "from"],
			"value",
			"nobody can prove to be that caller: inbound TLS is off",
			hasIdentity ? "set `inbound.tls` to strict or permissive" : ADD_IDENTITY,
		);
	});
}

export function checkUpstreamTls(tls: Mapping[string] | undefined, hasIdentity: boolean, path: Path, report: Report): void {
	if (tls === undefined) return;
	const given = mapping(tls);
	const external = given?.external === true || given?.external === "true";
	if (!external && !hasIdentity && tls !== "off") {
		report(path, "value", "TLS to a service of the mesh needs a certificate, and this policy has no identity", ADD_IDENTITY);
	}
	if (given === undefined) return;
	if (external) {
		if (given.serverName === undefined) report(path, "key", "`serverName` is missing", "the name in its certificate, as in api.example.com");
		if (given.service !== undefined)
			report([...path, "service"], "key", "`service` does not act with `external`", "it is checked by `serverName`: remove it");
		return;
	}
	for (const key of EXTERNAL_KEYS) {
		if (given[key] !== undefined)
			report([...path, key], "key", `\`${key}\` does not act inside the mesh`, "identities decide there: remove it, or add `external: true`");
	}
}
