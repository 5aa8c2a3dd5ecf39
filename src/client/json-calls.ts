/** Calls of the API that are answered at once with JSON: each has a time limit, and either its answer or the NexusError that says why there is none. */
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { boundedText } from "./bounded-text.ts";
import { errorOf, NexusError } from "./nexus-error.ts";
import type { Transport } from "./transport.ts";

/** Of every call. */
export interface CallOptions {
	readonly signal?: AbortSignal | undefined;
	/** Default: that of the client. */
	readonly timeoutMs?: number | undefined;
}

export interface JsonRequest extends CallOptions {
	readonly method?: "GET" | "POST" | "PUT" | "DELETE";
	/** Sent as JSON. */
	readonly body?: unknown;
	/** In the place of `body`: JSON that is written already, and its media type. */
	readonly written?: { readonly type: string; readonly json: string };
	readonly headers?: Readonly<Record<string, string>>;
}

/** 256 events of 1 MiB, which is the most that Nexus takes of each. */
const ANSWER_BYTES_MAX = 256 * 1024 * 1024;
/** That the API gives out. */
const PAGE_MAX = 1_000;
const JSON_TYPE = "application/json";

export class JsonCalls {
	readonly clock: Clock;
	readonly #transport: Transport;
	readonly #timeoutMs: number;

	constructor(transport: Transport, clock: Clock, timeoutMs: number) {
		this.clock = clock;
		this.#transport = transport;
		this.#timeoutMs = timeoutMs;
	}

	/** Undefined where the answer has no body. Rejects with a NexusError, or with the reason of the signal. */
	async json<T>(path: string, { method = "GET", body, written, headers = {}, signal, timeoutMs = this.#timeoutMs }: JsonRequest = {}): Promise<T> {
		const content = body === undefined ? written : { type: JSON_TYPE, json: JSON.stringify(body) };
		const over = new AbortController();
		const timer = this.clock.setTimer(timeoutMs, () => over.abort(new NexusError(`Nexus has not answered within ${timeoutMs / 1000} s`, 0, "")));
		const end = (): void => over.abort(signal?.reason);
		signal?.throwIfAborted();
		signal?.addEventListener("abort", end, { once: true });
		try {
			const response = await this.#transport.send(path, {
				method,
				headers: content === undefined ? headers : { ...headers, "content-type": content.type },
				...(content === undefined ? {} : { body: content.json }),
				signal: over.signal,
			});
			if (!response.ok) throw await errorOf(response);
			const text = await textOf(response);
			return (text === "" ? undefined : parsed(text)) as T;
		} catch (thrown) {
			throw over.signal.aborted ? over.signal.reason : thrown;
		} finally {
			timer.cancel();
			signal?.removeEventListener("abort", end);
		}
	}

	/** What stands in `member` of each page, as it is asked for. */
	async *list<T>(path: string, member: string, options: CallOptions, query: object = {}): AsyncGenerator<T, void, void> {
		for (let after: unknown; after !== null; ) {
			const page: Readonly<Record<string, unknown>> | null | undefined = await this.json(withQuery(path, { ...query, after }), options);
			const items = page?.[member];
			if (!Array.isArray(items)) throw new NexusError(`an answer without ${member}, from something that is not Nexus`, 502, "");
			yield* items as readonly T[];
			after = page?.next ?? null;
		}
	}

	/** All of them, of lists that are short. */
	async all<T>(path: string, member: string, options: CallOptions): Promise<readonly T[]> {
		const all: T[] = [];
		for await (const item of this.list<T>(path, member, options, { limit: PAGE_MAX })) all.push(item);
		return all;
	}
}

/** The path of a resource, with names as they may be written there. */
export function path(strings: TemplateStringsArray, ...names: readonly (string | number)[]): string {
	return String.raw({ raw: strings }, ...names.map((name) => encodeURIComponent(name)));
}

/** Members that are undefined are left out; times as RFC 3339. */
export function withQuery(path: string, query: object): string {
	const params = new URLSearchParams();
	for (const [name, value] of Object.entries(query)) {
		if (value !== undefined) params.set(name, value instanceof Date ? value.toISOString() : String(value));
	}
	return params.size === 0 ? path : `${path}?${params}`;
}

/** RFC 9110 section 13.1: only where it has this revision, 0: only where there is none. */
export function conditionOf(revision: number | undefined): Readonly<Record<string, string>> {
	if (revision === undefined) return {};
	return revision === 0 ? { "if-none-match": "*" } : { "if-match": `"${revision}"` };
}

/** As the API reads durations. */
export function durationText(ms: number): string {
	return `${Math.round(ms)}ms`;
}

async function textOf(response: Response): Promise<string> {
	let text: string | undefined;
	try {
		text = await boundedText(response, ANSWER_BYTES_MAX);
	} catch (thrown) {
		throw new NexusError(`the answer broke off: ${messageOf(thrown)}`, 0, "", { cause: thrown });
	}
	if (text === undefined) throw new NexusError(`an answer of more than ${ANSWER_BYTES_MAX} bytes, from something that is not Nexus`, 502, "");
	return text;
}

function parsed(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch (thrown) {
		throw new NexusError("an answer that is no JSON, from something that is not Nexus", 502, "", { cause: thrown });
	}
}
