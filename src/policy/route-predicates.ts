/** Whether one route fits one request, and if not, why: the predicates, of which nobody else has a second set. */
import { PathPattern } from "./path-pattern.ts";
import type { RoutePolicy } from "./snapshot.ts";
import type { FieldMatch } from "./traffic-policy.ts";

/** The value of a request header by its lower-case name. */
export type HeaderLookup = (name: string) => string | undefined;

/** Why a route was not taken, the first obstacle only; `later` fits as well, but an earlier one had won. */
export type RouteVerdict =
	| { readonly kind: "matched" | "later" | "host" | "path" | "method" | "from" }
	| { readonly kind: "header" | "query"; readonly name: string; readonly expected: FieldMatch; readonly actual: string | undefined }
	/** `drawn` is what fell for this request, 0..100. */
	| { readonly kind: "percent"; readonly percent: number; readonly drawn: number };

/** One request, as the predicates see it. */
export class Asked {
	readonly path: string;
	readonly method: string;
	readonly header: HeaderLookup;
	readonly draw: number | undefined;
	readonly #target: string;
	#query: URLSearchParams | undefined;

	constructor(target: string, method: string, header: HeaderLookup, draw: number | undefined) {
		const query = target.indexOf("?");
		this.path = query === -1 ? target : target.slice(0, query);
		this.method = method;
		this.header = header;
		this.draw = draw;
		this.#target = target;
	}

	/** The first parameter of this name, decoded once (application/x-www-form-urlencoded); only read where a route asks for one. */
	parameter(name: string): string | undefined {
		this.#query ??= new URLSearchParams(this.#target.slice(this.path.length));
		return this.#query.get(name) ?? undefined;
	}
}

export class CompiledRoute {
	readonly policy: RoutePolicy;
	readonly order: number;
	/** `.example.com` for `*.example.com`. */
	readonly hostSuffix: string | undefined;
	/** Whether its `from` names the service whose requests these are. */
	readonly #ours: boolean;
	readonly #path: PathPattern | undefined;
	readonly #headers: Fields | undefined;
	readonly #query: Fields | undefined;

	constructor(policy: RoutePolicy, order: number, source: string | undefined) {
		const { host, path, headers, query, from } = policy.match;
		this.policy = policy;
		this.order = order;
		this.hostSuffix = host?.startsWith("*.") ? host.slice(1) : undefined;
		this.#ours = source === undefined || from.length === 0 || from.includes(source);
		this.#path = path === undefined ? undefined : new PathPattern(path);
		this.#headers = headers.size === 0 ? undefined : new Fields(headers);
		this.#query = query.size === 0 ? undefined : new Fields(query);
	}

	get anchor(): string {
		return this.#path?.anchor ?? "";
	}

	/** Whether any request can fit. */
	get possible(): boolean {
		return this.#ours && this.policy.match.percent > 0;
	}

	/** Whether a request to its host fits. */
	fits(asked: Asked): boolean {
		return (
			this.#pathFits(asked.path) &&
			this.#methodFits(asked.method) &&
			(this.#headers === undefined || this.#headers.differing(asked.header) === -1) &&
			(this.#query === undefined || this.#query.differing((name) => asked.parameter(name)) === -1) &&
			this.#drawn(asked.draw) < this.policy.match.percent
		);
	}

	/** The same, one by one. */
	verdict(name: string, asked: Asked): RouteVerdict {
		const { percent } = this.policy.match;
		if (!this.#ours) return { kind: "from" };
		if (!this.#hostFits(name)) return { kind: "host" };
		if (!this.#pathFits(asked.path)) return { kind: "path" };
		if (!this.#methodFits(asked.method)) return { kind: "method" };
		const differs = this.#headers?.difference("header", asked.header) ?? this.#query?.difference("query", (key) => asked.parameter(key));
		if (differs !== undefined) return differs;
		const drawn = this.#drawn(asked.draw);
		return drawn < percent ? { kind: "matched" } : { kind: "percent", percent, drawn };
	}

	#hostFits(name: string): boolean {
		if (this.hostSuffix !== undefined) return name.length > this.hostSuffix.length && name.endsWith(this.hostSuffix);
		return this.policy.match.host === undefined || this.policy.match.host === name;
	}

	#pathFits(path: string): boolean {
		return this.#path === undefined || this.#path.matches(path);
	}

	#methodFits(method: string): boolean {
		const methods = this.policy.match.methods;
		return methods.length === 0 || methods.includes(method);
	}

	/** 0 (inclusive) to 100 (exclusive). */
	#drawn(draw: number | undefined): number {
		return draw === undefined || this.policy.match.percent >= 100 ? 0 : mixed(draw, this.order) * 100;
	}
}

/** Conditions on header fields or query parameters. */
class Fields {
	readonly #names: readonly string[];
	readonly #matches: readonly FieldMatch[];

	constructor(fields: ReadonlyMap<string, FieldMatch>) {
		this.#names = [...fields.keys()];
		this.#matches = [...fields.values()];
	}

	/** Position of the first that does not hold, or -1. */
	differing(lookup: HeaderLookup): number {
		for (let i = 0; i < this.#names.length; i++) {
			if (!holds(this.#matches[i] as FieldMatch, lookup(this.#names[i] as string))) return i;
		}
		return -1;
	}

	difference(kind: "header" | "query", lookup: HeaderLookup): RouteVerdict | undefined {
		const at = this.differing(lookup);
		if (at === -1) return undefined;
		const name = this.#names[at] as string;
		return { kind, name, expected: this.#matches[at] as FieldMatch, actual: lookup(name) };
	}
}

function holds(match: FieldMatch, actual: string | undefined): boolean {
	switch (match.kind) {
		case "exact":
			return actual === match.value;
		case "prefix":
			return actual?.startsWith(match.value) === true;
		case "present":
			return actual !== undefined;
		case "absent":
			return actual === undefined;
	}
}

/** A number in [0, 1) for each route from the one of the request, so that two routes with 10 % do not get the same tenth (murmur3's finaliser). */
function mixed(draw: number, order: number): number {
	let x = (Math.floor(draw * 0x1_0000_0000) ^ Math.imul(order + 1, 0x9e3779b1)) >>> 0;
	x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
	x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
	return ((x ^ (x >>> 16)) >>> 0) / 0x1_0000_0000;
}
