/** What the tests of subscriptions share: receivers over real sockets, calls of the API, and waiting for what must come true. */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { STRUCTURED_TYPE } from "../../../src/events/http-binding.ts";
import type { EventLog } from "../../../src/nexus/log/event-log.ts";
import { openMemoryLog } from "../../../src/nexus/log/memory-log.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import type { StateStore } from "../../../src/nexus/state/state-store.ts";
import { Subscriptions, type SubscriptionsOptions } from "../../../src/nexus/subscriptions/subscriptions.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { batchOf, eventJson, type TestEvent } from "../support.ts";

export interface Received {
	readonly id: string;
	readonly headers: IncomingMessage["headers"];
	readonly body: string;
	readonly method: string;
}

export interface Reply {
	readonly status: number;
	readonly headers?: Record<string, string>;
	readonly body?: string;
}

/** A webhook that answers as it is told; undefined: never. */
export async function receiver(
	t: TestContext,
	answer: (received: Received, count: number) => Reply | undefined | Promise<Reply | undefined> = () => ({ status: 204 }),
): Promise<{ url: string; received: Received[]; ids: () => string[]; close: () => void; port: number }> {
	const received: Received[] = [];
	const server = createServer(async (req, res) => {
		const parts: Buffer[] = [];
		for await (const part of req) parts.push(part as Buffer);
		const body = Buffer.concat(parts).toString();
		const binaryId = req.headers["ce-id"];
		const id = typeof binaryId === "string" ? binaryId : body === "" ? "" : (JSON.parse(body) as { id: string }).id;
		const one = { id, headers: req.headers, body, method: req.method ?? "" };
		received.push(one);
		const reply = await answer(one, received.length);
		if (reply === undefined) return;
		res.writeHead(reply.status, reply.headers).end(reply.body);
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	const close = (): void => {
		server.closeAllConnections();
		server.close();
	};
	t.after(close);
	const { port } = server.address() as AddressInfo;
	return { url: `http://127.0.0.1:${port}/hook`, received, ids: () => received.map(({ id }) => id), close, port };
}

/** What most answers hold that these tests look at. */
export interface Shown {
	readonly state: string;
	readonly trouble?: string;
	readonly revision: number;
	readonly position: number;
	readonly document: Record<string, unknown>;
	readonly lag: { readonly open: number; readonly unread: number };
	readonly deliveries: { readonly acked: number; readonly naked: number; readonly timedOut: number; readonly parked: number };
	readonly deadLetters: number;
	/** Of problems. */
	readonly reason: string;
	readonly detail: string;
	readonly faults: readonly { readonly path: string; readonly message: string }[];
}

export async function call<T = Shown>(
	url: string,
	method: string,
	body?: unknown,
	headers: Record<string, string> = {},
): Promise<{ status: number; json: T; etag: string | null }> {
	const response = await fetch(url, {
		method,
		headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
		...(body === undefined ? {} : { body: JSON.stringify(body) }),
	});
	const text = await response.text();
	return { status: response.status, json: (text === "" ? undefined : JSON.parse(text)) as T, etag: response.headers.get("etag") };
}

export async function publish(url: string, ...events: TestEvent[]): Promise<void> {
	for (const event of events) {
		const response = await fetch(`${url}/v1/events`, { method: "POST", headers: { "content-type": STRUCTURED_TYPE }, body: eventJson(event) });
		assert.equal(response.status, 200, await response.text());
	}
}

const PATIENCE_MS = 20_000;

/** Looks until it holds. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
	const endMs = Date.now() + PATIENCE_MS;
	while (!(await holds())) {
		if (Date.now() > endMs) assert.fail(`in ${PATIENCE_MS} ms it did not come true that ${what}`);
		await sleep(5);
	}
}

/** As long as it lives it is the store; then its calls never come back, like those of a process that is gone. */
export function mortal(store: StateStore): { readonly store: StateStore; kill(): void } {
	let isAlive = true;
	const never = new Promise<never>(() => {});
	return {
		store: new Proxy(store, {
			get(target, name) {
				const value = Reflect.get(target, name, target) as unknown;
				if (typeof value !== "function") return value;
				return (...args: unknown[]) => (isAlive ? Reflect.apply(value, target, args) : never);
			},
		}),
		kill() {
			isAlive = false;
		},
	};
}

/** Everything that needs no time has happened. */
export async function quiet(): Promise<void> {
	for (let i = 0; i < 12; i++) await new Promise((resolve) => setImmediate(resolve));
}

export interface MemoryHouse {
	readonly log: EventLog;
	readonly state: StateStore;
	readonly clock: FakeClock;
	/** To be closed by the test, unless it has died. */
	open(options?: Partial<SubscriptionsOptions>): Promise<Subscriptions>;
	publish(...events: TestEvent[]): Promise<number>;
}

/** Subscriptions on a log and a state in memory, and a clock that moves when told. */
export async function memoryHouse(t: TestContext): Promise<MemoryHouse> {
	const clock = new FakeClock();
	const log = await openMemoryLog({ clock: systemClock, log: silentLogger });
	const opened = await openState({ engine: "memory" });
	assert.ok(opened.ok);
	const state = opened.store;
	t.after(async () => {
		await log.close();
		await state.close();
	});
	return {
		log,
		state,
		clock,
		open(options = {}) {
			return Subscriptions.open({ log, state, clock, rng: seededRng(1), logger: silentLogger, instance: "test", ...options });
		},
		async publish(...events) {
			const outcome = await log.append(batchOf(events));
			assert.ok(outcome.ok);
			return outcome.sequence;
		},
	};
}
