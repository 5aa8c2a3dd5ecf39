/** What a run asks of Nexus in its own name: subscriptions made, the log read, dead letters listed and tried again. Patient, never with less than a whole answer. */
import assert from "node:assert/strict";
import type { Seen } from "./history.ts";
import { pause } from "./record.ts";
import { digestOf, TYPE, type WorkEvent } from "./workload.ts";

// Nothing is decided by it: it only turns a hang into a failure that shows what it waits for.
const PATIENCE_MS = 120_000;
const POLL_MS = 200;
// Longer than what is waited for there, and than what stands still.
const ANSWER_MS = 40_000;
const DELIVERY = { attempts: 5, ackWait: "1s", backoff: ["50ms", "200ms", "1s"] };

export interface StoredLog {
	readonly events: readonly Seen[];
	readonly gaps: readonly { readonly first: number; readonly last: number }[];
}

interface Row {
	readonly sequence: number;
	readonly event: WorkEvent;
}

export class Operator {
	readonly #urls: readonly string[];
	/** Throws where the run is lost already. */
	readonly #check: () => void;
	#calls = 0;

	constructor(urls: readonly string[], check: () => void) {
		this.#urls = urls;
		this.#check = check;
	}

	/** Asks again and again, what holds it up. Rejects after PATIENCE_MS, with the last answer. */
	async until(what: string, trouble: () => string | undefined | Promise<string | undefined>): Promise<void> {
		const untilMs = performance.now() + PATIENCE_MS;
		for (let why = await trouble(); why !== undefined; why = await trouble()) {
			this.#check();
			if (performance.now() > untilMs) assert.fail(`${what}: still not so after ${PATIENCE_MS} ms: ${why}`);
			await pause(POLL_MS);
		}
	}

	/** Resolves as soon as it is done. */
	async untilDone(what: string, done: Promise<unknown>): Promise<void> {
		let isDone = false;
		void done.then(() => {
			isDone = true;
		});
		await this.until(what, () => (isDone ? undefined : "not done"));
	}

	async subscribe(name: string, sink: object): Promise<void> {
		await this.#call("PUT", `/v1/subscriptions/${name}`, { filter: { type: TYPE }, from: "all", sink, strategy: "keyed", delivery: DELIVERY });
	}

	async pause(name: string): Promise<void> {
		await this.#call("POST", `/v1/subscriptions/${name}/pause`);
	}

	async resume(name: string): Promise<void> {
		await this.#call("POST", `/v1/subscriptions/${name}/resume`);
	}

	/** All that is stored was looked at, and each event delivered or parked. */
	settled(name: string): Promise<void> {
		return this.until(`${name} has nothing open`, async () => {
			const shown = await this.#call<{ state: string; lag: { open: number; unread: number } }>("GET", `/v1/subscriptions/${name}`);
			// One that does not run has nothing open either.
			return shown.state === "running" && shown.lag.open === 0 && shown.lag.unread === 0 ? undefined : JSON.stringify(shown);
		});
	}

	/** Tries each dead letter again, once. How many are dead letters no more. */
	async replay(name: string): Promise<number> {
		const { recovered } = await this.#call<{ recovered: number }>("POST", `/v1/subscriptions/${name}/dead-letters/replay`, { wait: "20s" });
		return recovered;
	}

	/** The same, and what becomes of it is all one. */
	async beginReplay(name: string): Promise<void> {
		const [url] = this.#urls;
		const headers = { "content-type": "application/json" };
		await fetch(`${url}/v1/subscriptions/${name}/dead-letters/replay`, { method: "POST", headers, body: "{}" }).then(
			(response) => response.arrayBuffer(),
			() => {},
		);
	}

	async deadLetters(name: string): Promise<(Seen & { readonly fate: WorkEvent["fate"] })[]> {
		const rows: Row[] = [];
		for (let after: string | null = ""; after !== null; ) {
			const query: string = after === "" ? "" : `&after=${encodeURIComponent(after)}`;
			const page: { deadLetters: Row[]; next: string | null } = await this.#call("GET", `/v1/subscriptions/${name}/dead-letters?limit=100${query}`);
			rows.push(...page.deadLetters);
			after = page.next;
		}
		return rows.map(({ sequence, event }) => ({ ...seen(sequence, event), fate: event.fate }));
	}

	async readLog(): Promise<StoredLog> {
		const events: Seen[] = [];
		const gaps: { first: number; last: number }[] = [];
		for (let after: number | null = 0; after !== null; ) {
			const page: { events: Row[]; next: number | null; damaged?: typeof gaps } = await this.#call(
				"GET",
				`/v1/events?type=${TYPE}&limit=1000&after=${after}`,
			);
			events.push(...page.events.map(({ sequence, event }) => seen(sequence, event)));
			gaps.push(...(page.damaged ?? []));
			after = page.next;
		}
		return { events, gaps };
	}

	/** Until it is done: Nexus may not be there, or have no place to write, or have to get its lease first. Doing it twice is as good as once. */
	async #call<T>(method: string, path: string, body?: object): Promise<T> {
		let text = "";
		await this.until(`${method} ${path} is answered`, async () => {
			const url = `${this.#urls[this.#calls++ % this.#urls.length]}${path}`;
			const headers = { "content-type": "application/json" };
			let response: Response;
			try {
				response = await fetch(url, {
					method,
					headers,
					...(body !== undefined && { body: JSON.stringify(body) }),
					signal: AbortSignal.timeout(ANSWER_MS),
				});
				text = await response.text();
			} catch (thrown) {
				return String(thrown instanceof Error ? (thrown.cause ?? thrown) : thrown);
			}
			assert.ok(response.ok || response.status === 503 || response.status === 507, `${method} ${path}: ${response.status} ${text}`);
			return response.ok ? undefined : text;
		});
		return JSON.parse(text) as T;
	}
}

function seen(sequence: number, event: WorkEvent): Seen {
	return { sequence, id: event.id, digest: digestOf(event) };
}
