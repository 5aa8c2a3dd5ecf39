/** What the tests of subscriptions share: receivers over real sockets, calls of the API, and waiting for what must come true. */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { STRUCTURED_TYPE } from "../../../src/events/http-binding.ts";
import { eventJson, type TestEvent } from "../support.ts";

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
