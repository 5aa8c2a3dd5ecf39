/** The small languages inside the policy's values: durations, addresses, names, CIDR blocks, URLs. */
import { isIP, isIPv6 } from "node:net";
import { type Refusal, refuse } from "./fault.ts";
import type { Address } from "./snapshot.ts";

export type TcpAddress = Address & { kind: "tcp" };

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const DURATION = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/;
const DURATION_HINT = "write a number and its unit: 250ms, 5s, 1m30s, 1h";

/** `250ms`, `5s`, `1m30s` -> milliseconds. */
export function parseDuration(text: string): number | Refusal {
	if (/^\d+(\.\d+)?$/.test(text)) return refuse("has no unit", `did you mean ${text}s or ${text}ms?`);
	if (text.length > 64 || !DURATION.test(text)) return refuse("is not a duration", DURATION_HINT);
	let ms = 0;
	for (const [, number, unit] of text.matchAll(/([\d.]+)(ms|s|m|h)/g)) ms += Number(number) * (UNIT_MS[unit ?? ""] ?? 0);
	return Math.round(ms);
}

const ADDRESS_HINT = "write host:port as in 127.0.0.1:3000, [::1]:3000 or localhost:3000";
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/i;
// The kernel's limit: sun_path has 108 bytes with its final NUL on Linux, 104 on macOS.
const UNIX_PATH_BYTES_MAX = 103;

/** `127.0.0.1:3000`, `[::1]:3000`, `name:3000`. Port 0 lets the system choose, which only a listener can want. */
export function parseTcpAddress(text: string, portMin: 0 | 1): TcpAddress | Refusal {
	const parts = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text);
	if (parts === null) {
		if (isIPv6(text)) return refuse("is an IPv6 address without brackets and port", `write [${text}]:PORT`);
		if (HOST_NAME.test(text)) return refuse("has no port", ADDRESS_HINT);
		return refuse("is not an address", ADDRESS_HINT);
	}
	const [, bracketed, name, digits] = parts;
	const host = bracketed ?? name ?? "";
	const port = Number(digits);
	if (host === "") return refuse("has no host", `say which: 127.0.0.1:${port} for this machine only, 0.0.0.0:${port} for all interfaces`);
	if (bracketed !== undefined && !isIPv6(host)) return refuse("has no IPv6 address in its brackets", ADDRESS_HINT);
	if (bracketed === undefined && !isHost(host)) return refuse("has no valid host", ADDRESS_HINT);
	if (port < portMin || port > 65_535) return refuse("has no valid port", `ports go from ${portMin} to 65535`);
	return { kind: "tcp", host: host.toLowerCase(), port };
}

/** A TCP address, or `unix:/run/app.sock`. */
export function parseAddress(text: string): Address | Refusal {
	if (!text.startsWith("unix:")) return parseTcpAddress(text, 1);
	const path = text.slice("unix:".length);
	if (!path.startsWith("/")) return refuse("is not an absolute path", "write unix:/run/app.sock");
	if (path.includes("\0") || Buffer.byteLength(path) > UNIX_PATH_BYTES_MAX) {
		return refuse("is too long for a socket path", `at most ${UNIX_PATH_BYTES_MAX} bytes`);
	}
	return { kind: "unix", path };
}

/** A DNS server: `1.1.1.1`, `1.1.1.1:5353`, `[::1]:53`; kept as text, which is what the resolver takes. */
export function parseDnsServer(text: string): string | Refusal {
	const bare = /^\[(.*)\]$/.exec(text)?.[1] ?? text;
	if (isIP(bare) !== 0) return text;
	const address = parseTcpAddress(text, 1);
	if ("refused" in address) return address;
	return isIP(address.host) === 0 ? refuse("names its server instead of giving an IP address", "write 10.0.0.2 or 10.0.0.2:5353") : text;
}

/** `10.0.0.0/8`, `fd00::/8`, or one address. */
export function parseCidr(text: string): string | Refusal {
	const [address = "", bits, ...rest] = text.split("/");
	const family = isIP(address);
	const hint = "write a block as in 10.0.0.0/8 or fd00::/8";
	if (family === 0 || rest.length !== 0) return refuse("is not a CIDR block", hint);
	const max = family === 4 ? 32 : 128;
	if (bits === undefined) return `${address}/${max}`;
	if (!/^\d{1,3}$/.test(bits) || Number(bits) > max) return refuse("has no valid prefix length", `the part after the slash goes from 0 to ${max}`);
	return text;
}

/** A DNS name or an IP address. */
export function parseHostName(text: string): string | Refusal {
	return isHost(text) ? text.toLowerCase().replace(/\.$/, "") : refuse("is not a host name", "write a DNS name as in payments.mesh.local");
}

/** What a Host field may carry: a name, with a port where one is wanted. */
export function parseAuthority(text: string): string | Refusal {
	const name = text.replace(/:\d{1,5}$/, "");
	const bare = /^\[(.*)\]$/.exec(name)?.[1];
	return (bare === undefined ? isHost(name) : isIPv6(bare))
		? text
		: refuse("is not a host", "write a name, with a port where it is needed: payments:8080");
}

/** A host of a route: `payments`, `*.example.com`; lower case, without port. */
export function parseHostPattern(text: string): string | Refusal {
	if (text === "*") return refuse("matches every host", "leave `host` out instead");
	const hint = "write a name as in payments, or *.example.com for all names below one";
	if (/:\d+$/.test(text) && !isIPv6(text)) return refuse("has a port", "routes compare host names without their port");
	const name = text.startsWith("*.") ? text.slice(2) : text;
	if (name.includes("*")) return refuse("has an asterisk that is not its first label", hint);
	if (!isHost(name)) return refuse("is not a host name", hint);
	return text.toLowerCase().replace(/\.$/, "");
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/;

/** A request method (RFC 9110 section 9.1). */
export function parseMethod(text: string): string | Refusal {
	if (!TOKEN.test(text)) return refuse("is not a method", "write GET, POST, ...");
	return text === text.toUpperCase() ? text : refuse("is not written in capitals", `methods are case-sensitive: ${text.toUpperCase()}`);
}

/** Upstreams, routes and services stand in labels, events and Host fields. */
export function parseName(text: string): string | Refusal {
	if (/^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/.test(text)) return text;
	return refuse("is not a name", "at most 63 lower-case letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit");
}

/** A service by its name, or all of them. */
export function parseParty(text: string): string | Refusal {
	return text === "*" ? text : parseName(text);
}

/** Whom an upstream must prove to be: a service by its name, or a whole SPIFFE ID. */
export function parseServiceIdentity(text: string): string | Refusal {
	if (!text.startsWith("spiffe://")) return parseName(text);
	// SPIFFE-ID sections 2.1 to 2.3.
	if (/^spiffe:\/\/[a-z0-9._-]{1,255}(\/[A-Za-z0-9._-]+)+$/.test(text) && text.length <= 2048 && !/\/\.{1,2}(\/|$)/.test(text)) return text;
	return refuse("is not a SPIFFE ID", "write spiffe://trust.domain/service");
}

/** Field name of a request header, lower case (RFC 9110 section 5.1). */
export function parseFieldName(text: string): string | Refusal {
	return TOKEN.test(text) ? text.toLowerCase() : refuse("is not a header name", "letters, digits and `-`, at most 64");
}

/** Field value (RFC 9110 section 5.5): visible characters, with single spaces and tabs between them. */
export function parseFieldValue(text: string): string | Refusal {
	if (/^[\x21-\x7e\x80-\xff]([\t \x21-\x7e\x80-\xff]{0,4094}[\x21-\x7e\x80-\xff])?$|^$/.test(text)) return text;
	return refuse("is not a header value", "at most 4096 visible characters, without spaces around");
}

/** Base URL of Nexus: scheme, host and port, perhaps a path; no credentials, query or fragment. */
export function parseHttpUrl(text: string): string | Refusal {
	const hint = "write http://nexus:7400 or https://nexus:7400";
	if (!/^https?:\/\//.test(text) || !URL.canParse(text)) return refuse("is not an http or https URL", hint);
	const url = new URL(text);
	if (url.username !== "" || url.password !== "") return refuse("holds credentials", "keep secrets out of URLs");
	if (url.search !== "" || url.hash !== "") return refuse("has a query or fragment", hint);
	return url.href.replace(/\/$/, "");
}

/** Path with perhaps a query, as a request line carries it. */
export function parseRequestPath(text: string): string | Refusal {
	return /^\/[\x21\x22\x24-\x7e]{0,2047}$/.test(text) ? text : refuse("is not a path", "begin with `/`; no spaces and no `#`");
}

export function parseFilePath(text: string): string | Refusal {
	if (text === "" || text.includes("\0") || text.length > 4096) return refuse("is not a path of a file", "relative to the policy file, or absolute");
	return text;
}

function isHost(text: string): boolean {
	if (isIP(text) !== 0) return true;
	// All digits and dots, yet no IPv4 address: a typing error that DNS would be asked about otherwise.
	return HOST_NAME.test(text.replace(/\.$/, "")) && !/^[\d.]+$/.test(text);
}
