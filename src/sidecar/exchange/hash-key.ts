/** What requests are told apart by (header, cookie, address, path), as a hash; for sticky splits and hashing balancers. */
import { type Hash64, type Hash64Slot, xxh64 } from "../../core/xxh64.ts";
import type { RequestParser } from "../../http1/request-parser.ts";
import type { HashKey } from "../../policy/traffic-policy.ts";
import type { Client } from "./stack.ts";

/** Undefined where the request does not have it: then it goes where chance sends it. */
export function hashOf(key: HashKey, request: RequestParser, client: Client, into: Hash64Slot): Hash64 | undefined {
	const text = textOf(key, request, client);
	return text === undefined ? undefined : xxh64(text, into);
}

function textOf(key: HashKey, request: RequestParser, client: Client): string | undefined {
	switch (key.kind) {
		case "header":
			return request.fields.get(key.name);
		case "cookie":
			return cookieOf(request.fields.get("cookie"), key.name);
		case "ip":
			return client.address === "" ? undefined : client.address;
		case "path": {
			const query = request.target.indexOf("?");
			return query === -1 ? request.target : request.target.slice(0, query);
		}
	}
}

/** RFC 6265 4.2.1: `name=value` pairs between `; `. The first of a name counts. */
export function cookieOf(header: string | undefined, name: string): string | undefined {
	if (header === undefined) return undefined;
	for (let from = 0; from < header.length; ) {
		let end = header.indexOf(";", from);
		if (end === -1) end = header.length;
		const equals = header.indexOf("=", from);
		if (equals !== -1 && equals < end && header.slice(from, equals).trim() === name) return header.slice(equals + 1, end).trim();
		from = end + 1;
	}
	return undefined;
}
