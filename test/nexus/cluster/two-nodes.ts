/** What holds of two nodes on one log and one state, whatever these are: the same on each, and nothing lost where one is killed under load. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { eventually } from "../../support/processes.ts";
import { type NexusProcess, spawnNexus } from "../nexus-process.ts";
import { temporaryDir } from "../support.ts";

export const ACK_WAIT_MS = 10_000;
const LEASE = "2s";
const KEYS = 12;
const EVENTS_PER_KEY = 120;
const BATCH_TYPE = "application/cloudevents-batch+json";

interface Stored {
	readonly sequence: number;
	readonly event: { readonly id: string; readonly data?: { readonly key: string; readonly n: number } };
}

export interface Nodes {
	readonly nodes: readonly NexusProcess[];
	/** As it was started, on the same data and another port. */
	restart(index: number): Promise<NexusProcess>;
}

/** `engines`: the lines `log:` and `state:` of the configuration. */
export async function startNodes(t: TestContext, engines: string, count = 2): Promise<Nodes> {
	const base = temporaryDir(t);
	const running = new Set<NexusProcess>();
	t.after(() => Promise.all([...running].map((node) => node.stop("SIGKILL"))));
	const start = async (index: number): Promise<NexusProcess> => {
		const dir = join(base, `node${index}`);
		mkdirSync(dir, { recursive: true });
		const file = join(dir, "nexus.yaml");
		writeFileSync(file, `listen: 127.0.0.1:0\ndata: ./data\n${engines}cluster: { lease: ${LEASE} }\n`);
		const node = await spawnNexus(["--config", file]);
		running.add(node);
		return node;
	};
	const nodes: NexusProcess[] = [];
	for (let index = 0; index < count; index++) nodes.push(await start(index));
	return { nodes, restart: start };
}

/** A webhook that says yes to everything and remembers in which order it came. */
export async function startReceiver(t: TestContext): Promise<{ url: string; arrivals: { id: string; key: string; n: number; atMs: number }[] }> {
	const arrivals: { id: string; key: string; n: number; atMs: number }[] = [];
	const server = createServer((req, res) => {
		const chunks: Buffer[] = [];
		req.on("data", (chunk: Buffer) => chunks.push(chunk));
		req.on("end", () => {
			const { id, data } = JSON.parse(Buffer.concat(chunks).toString()) as { id: string; data: { key: string; n: number } };
			arrivals.push({ id, ...data, atMs: performance.now() });
			res.writeHead(204).end();
		});
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		server.closeAllConnections();
		server.close();
	});
	return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, arrivals };
}

/** The index of the node that dispatches subscriptions. */
export async function dispatcherOf(nodes: readonly NexusProcess[]): Promise<number> {
	let found = -1;
	await eventually("one node dispatches", async () => {
		const statuses = await Promise.all(
			nodes.map(({ url }) =>
				fetch(`${url}/v1/subscriptions`, { redirect: "manual" }).then(
					({ status }) => status,
					() => 0,
				),
			),
		);
		const here = statuses.flatMap((status, i) => (status === 200 ? [i] : []));
		assert.ok(here.length <= 1, `two nodes dispatch: ${statuses}`);
		found = here[0] ?? -1;
		return found >= 0;
	});
	return found;
}

/** All of the events of this test, by the API of one node. */
export async function storedAt(url: string): Promise<Stored[]> {
	const all: Stored[] = [];
	for (let after: number | null = 0; after !== null; ) {
		const answer = await fetch(`${url}/v1/events?type=test.*&limit=1000&after=${after}`);
		const { events, next } = (await answer.json()) as { events: Stored[]; next: number | null };
		all.push(...events);
		after = next;
	}
	return all;
}

/** Sends one event after the other, at whichever node takes it, again until it is acknowledged. */
async function produce(urls: () => readonly string[], key: string, onAccepted: (id: string) => void): Promise<void> {
	for (let n = 0; n < EVENTS_PER_KEY; n++) {
		const id = `${key}-${n}`;
		const event = { specversion: "1.0", id, source: `/test/${key}`, type: "test.keyed", partitionkey: key, data: { key, n } };
		for (let attempt = n; ; attempt++) {
			const alive = urls();
			const url = alive[attempt % alive.length];
			const answer = await fetch(`${url}/v1/events`, {
				method: "POST",
				headers: { "content-type": BATCH_TYPE },
				body: JSON.stringify([event]),
				signal: AbortSignal.timeout(15_000),
			}).catch(() => undefined);
			await answer?.arrayBuffer();
			if (answer?.status === 200) break;
			await new Promise((resolve) => setTimeout(resolve, 50));
		}
		onAccepted(id);
	}
}

/** Both nodes take events and answer with the same sequences, in queries and in streams. */
export async function assertSameOnBoth({ nodes }: Nodes): Promise<void> {
	const [a, b] = nodes;
	assert.ok(a !== undefined && b !== undefined);
	const streams = await Promise.all([a, b].map(({ url }) => fetch(`${url}/v1/events/stream?type=test.same`)));
	for (let n = 0; n < 20; n++) {
		const event = { specversion: "1.0", id: `same-${n}`, source: "/test", type: "test.same" };
		const answer = await fetch(`${nodes[n % 2]?.url}/v1/events`, {
			method: "POST",
			headers: { "content-type": BATCH_TYPE },
			body: JSON.stringify([event]),
		});
		assert.equal(answer.status, 200, await answer.text());
	}
	const told = await Promise.all(streams.map((stream) => readEvents(stream, 20)));
	assert.deepEqual(told[0], told[1]);
	const wanted = Array.from({ length: 20 }, (_, n) => `same-${n}`);
	assert.deepEqual(
		told[0]?.map(({ id }) => id),
		wanted,
	);
	const stored = await Promise.all([a, b].map(({ url }) => storedAt(url)));
	assert.deepEqual(stored[0], stored[1]);
	assert.deepEqual(
		stored[0]?.map(({ sequence, event }) => ({ sequence, id: event.id })),
		told[0],
	);
}

/**
 * Kills the node that dispatches, while both are under load: what was acknowledged is delivered, each key in order, and the other node goes on
 * within `ackWait`. Resolves with how long nothing arrived.
 */
export async function assertNothingLost(t: TestContext, { nodes, restart }: Nodes): Promise<{ silentMs: number }> {
	const receiver = await startReceiver(t);
	const dispatching = await dispatcherOf(nodes);
	const killed = nodes[dispatching];
	const other = nodes[1 - dispatching];
	assert.ok(killed !== undefined && other !== undefined);
	// By the node that does not: it sends the caller on.
	const document = {
		filter: { type: "test.keyed" },
		sink: { kind: "webhook", url: receiver.url },
		strategy: "keyed",
		delivery: { ackWait: `${ACK_WAIT_MS}ms`, backoff: ["50ms"] },
	};
	const made = await fetch(`${other.url}/v1/subscriptions/lanes`, {
		method: "PUT",
		headers: { "content-type": "application/json" },
		body: JSON.stringify(document),
	});
	assert.equal(made.status, 201, await made.text());

	let urls = nodes.map(({ url }) => url);
	const accepted = new Set<string>();
	const total = KEYS * EVENTS_PER_KEY;
	let killedAtMs = 0;
	const producing = Promise.all(
		Array.from({ length: KEYS }, (_, k) =>
			produce(
				() => urls,
				`k${k}`,
				(id) => accepted.add(id),
			),
		),
	);
	await eventually("a third is accepted", async () => accepted.size > total / 3 && receiver.arrivals.length > 0);
	killedAtMs = performance.now();
	await killed.stop("SIGKILL");
	urls = [other.url];
	await producing;
	assert.equal(accepted.size, total);
	const delivered = (): Set<string> => new Set(receiver.arrivals.map(({ id }) => id));
	await eventually("everything is delivered", async () => delivered().size >= total);

	assert.deepEqual(
		[...accepted].filter((id) => !delivered().has(id)),
		[],
		"lost",
	);
	assert.deepEqual(
		[...delivered()].filter((id) => !accepted.has(id)),
		[],
		"never accepted",
	);
	assertInOrder(receiver.arrivals);
	const after = receiver.arrivals.filter(({ atMs }) => atMs > killedAtMs + 100);
	const silentMs = (after[0]?.atMs ?? Number.POSITIVE_INFINITY) - killedAtMs;
	assert.ok(silentMs < ACK_WAIT_MS, `nothing came for ${silentMs} ms`);

	// The one that was killed comes back, as one that does not dispatch, and sees the same.
	const back = await restart(dispatching);
	assert.equal(await dispatcherOf([other, back]), 0);
	assert.deepEqual(await storedAt(back.url), await storedAt(other.url));
	return { silentMs };
}

/**
 * Stops the process of the node that dispatches for longer than its lease, as a pause of its machine does, and lets it go on: meanwhile the other
 * node delivers, and afterwards nothing comes out of order from the one that wakes up.
 */
export async function assertPauseIsHarmless(t: TestContext, { nodes }: Nodes): Promise<void> {
	const receiver = await startReceiver(t);
	const dispatching = await dispatcherOf(nodes);
	const paused = nodes[dispatching];
	const other = nodes[1 - dispatching];
	assert.ok(paused !== undefined && other !== undefined);
	const document = {
		filter: { type: "test.keyed" },
		from: "new",
		sink: { kind: "webhook", url: receiver.url },
		strategy: "keyed",
		delivery: { ackWait: `${ACK_WAIT_MS}ms`, backoff: ["50ms"], concurrency: 4 },
	};
	const made = await fetch(`${other.url}/v1/subscriptions/pauses`, {
		method: "PUT",
		headers: { "content-type": "application/json" },
		body: JSON.stringify(document),
	});
	assert.equal(made.status, 201, await made.text());
	const accepted = new Set<string>();
	const producing = Promise.all(
		Array.from({ length: KEYS }, (_, k) =>
			produce(
				() => [other.url],
				`p${k}`,
				(id) => accepted.add(id),
			),
		),
	);
	await eventually("some are delivered", async () => receiver.arrivals.length > KEYS);
	paused.child.kill("SIGSTOP");
	await eventually("the other one dispatches", async () => (await fetch(`${other.url}/v1/subscriptions`, { redirect: "manual" })).status === 200);
	await eventually("and delivers", async () => receiver.arrivals.length > KEYS * 10);
	paused.child.kill("SIGCONT");
	await producing;
	const delivered = (): Set<string> => new Set(receiver.arrivals.map(({ id }) => id));
	await eventually("everything is delivered", async () => delivered().size >= accepted.size);
	assertInOrder(receiver.arrivals);
	// It has noticed, and sends callers on.
	await eventually(
		"the one that was paused knows",
		async () => (await fetch(`${paused.url}/v1/subscriptions`, { redirect: "manual" })).status === 307,
	);
}

/** Again is allowed, ahead of its turn is not. */
function assertInOrder(arrivals: readonly { readonly key: string; readonly n: number }[]): void {
	const next = new Map<string, number>();
	for (const { key, n } of arrivals) {
		const wanted = next.get(key) ?? 0;
		assert.ok(n <= wanted, `${key}: ${n} came before ${wanted}`);
		if (n === wanted) next.set(key, n + 1);
	}
}

async function readEvents(answer: Response, count: number): Promise<{ sequence: number; id: string }[]> {
	const events: { sequence: number; id: string }[] = [];
	const decoder = new TextDecoder();
	let text = "";
	assert.ok(answer.body !== null);
	for await (const chunk of answer.body) {
		text += decoder.decode(chunk, { stream: true });
		const frames = text.split("\n\n");
		text = frames.pop() ?? "";
		for (const frame of frames) {
			const data = /^data: ?(.*)$/m.exec(frame)?.[1];
			if (data === undefined) continue;
			const { sequence, event } = JSON.parse(data) as Stored;
			events.push({ sequence, id: event.id });
		}
		if (events.length >= count) return events;
	}
	return events;
}
