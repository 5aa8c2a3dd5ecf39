/** Events that violate the schema of their type, as a client looks at them, publishes those that are fine by now, or throws them away. */
import { type CallOptions, type JsonCalls, path } from "./json-calls.ts";

export interface ParkedEvent {
	/** Stands for (source, id). */
	readonly key: string;
	readonly type: string;
	readonly source: string;
	readonly id: string;
	/** What the schema said. */
	readonly reason: string;
	readonly parkedAt: string;
	readonly event: Readonly<Record<string, unknown>>;
}

export interface ParkedReplay {
	/** In the log now. */
	readonly recovered: number;
	readonly stillFailed: number;
	/** Of the first few. */
	readonly failures: readonly { readonly key: string; readonly reason: string }[];
}

export interface ParkedSelection {
	readonly keys?: readonly string[];
	readonly type?: string;
	readonly limit?: number;
}

/** Each call rejects with a NexusError where it is refused. Nothing is taken by looking. */
export class ParkedEventsClient {
	readonly #calls: JsonCalls;

	constructor(calls: JsonCalls) {
		this.#calls = calls;
	}

	/** In no order that means anything, page by page as they are asked for. */
	list({ type, ...options }: CallOptions & { readonly type?: string } = {}): AsyncGenerator<ParkedEvent, void, void> {
		return this.#calls.list("/v1/parked-events", "events", options, { type });
	}

	get(key: string, options: CallOptions = {}): Promise<ParkedEvent> {
		return this.#calls.json(path`/v1/parked-events/${key}`, options);
	}

	/** Each is judged by the schema as it is now; who is fine goes to the log as if it came now. */
	replay(which: ParkedSelection = {}, options: CallOptions = {}): Promise<ParkedReplay> {
		return this.#calls.json("/v1/parked-events/replay", { ...options, method: "POST", body: which });
	}

	/** For good. */
	async discard(key: string, options: CallOptions = {}): Promise<void> {
		await this.#calls.json(path`/v1/parked-events/${key}`, { ...options, method: "DELETE" });
	}
}
