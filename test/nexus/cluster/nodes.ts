/** What holds of several nodes on one log and one state, whatever these are: the same on each, subscriptions shared out, and nothing lost where one dies. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { SLICES, sliceOf } from "../../../src/nexus/cluster/slices.ts";
import { WINDOW } from "../../../src/nexus/subscriptions/limits.ts";
import { eventually } from "../../support/processes.ts";
import { type NexusProcess, spawnNexus } from "../nexus-process.ts";
import { temporaryDir } from "../support.ts";

export const ACK_WAIT_MS = 10_000;
/** Twice as long as a busy machine lets a process wait; an owner that loses its lease for that would repeat what it has delivered. */
export const LEASE_MS = 4_000;
const KEYS = 12;
const EVENTS_PER_KEY = 80;
/** As many slices, of both ends of their numbers. */
const LANES = 8;
const CONCURRENCY = 4;
const AHEAD_MAX = 60;
const BATCH_TYPE = "application/cloudevents-batch+json";

interface Stored {
	readonly sequence: number;
	readonly event: { readonly id: string; readonly data?: { readonly key: string; readonly n: number } };
}

export interface Arrival {
	/** Name of the subscription. */
	readonly lane: string;
	readonly id: string;
	readonly key: string;
	readonly n: number;
	readonly atMs: number;
}

export interface Receiver {
	readonly url: string;
	readonly arrivals: readonly Arrival[];
}

export interface Nodes {
	readonly nodes: readonly NexusProcess[];
	/** One more, or one that was there, on its data and another port. */
	start(index: number): Promise<NexusProcess>;
}

/** `engines`: the lines `log:` and `state:` of the configuration. */
export async function startNodes(t: TestContext, engines: string, count = 2, leaseMs = LEASE_MS): Promise<Nodes> {
	const base = temporaryDir(t);
	const running = new Set<NexusProcess>();
	t.after(() => Promise.all([...running].map((node) => node.stop("SIGKILL"))));
	const start = async (index: number): Promise<NexusProcess> => {
		const dir = join(base, `node${index}`);
		mkdirSync(dir, { recursive: true });
		const file = join(dir, "nexus.yaml");
		writeFileSync(file, `listen: 127.0.0.1:0\ndata: ./data\n${engines}cluster: { lease: ${leaseMs}ms }\n`);
		const node = await spawnNexus(["--config", file]);
		running.add(node);
		return node;
	};
	const nodes: NexusProcess[] = [];
	for (let index = 0; index < count; index++) nodes.push(await start(index));
	return { nodes, start };
}

/** A webhook that says yes to everything and remembers in which order it came, by the last part of its path. */
export async function startReceiver(t: TestContext): Promise<Receiver> {
	const arrivals: Arrival[] = [];
	const server = createServer((req, res) => {
		const chunks: Buffer[] = [];
		req.on("data", (chunk: Buffer) => chunks.push(chunk));
		req.on("end", () => {
			const { id, data } = JSON.parse(Buffer.concat(chunks).toString()) as { id: string; data: { key: string; n: number } };
			arrivals.push({ lane: req.url?.slice(1) ?? "", id, ...data, atMs: performance.now() });
			res.writeHead(204).end();
		});
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => {
		server.closeAllConnections();
		server.close();
	});
	return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, arrivals };
}

/** How many slices each node says it dispatches at this moment; undefined where it does not answer. */
export async function sharesOf(nodes: readonly NexusProcess[]): Promise<readonly (number | undefined)[]> {
	return Promise.all(
		nodes.map(async ({ url }) => {
			const answer = await fetch(`${url}/metrics`).catch(() => undefined);
			const part = /^nexus_dispatching (\S+)$/m.exec((await answer?.text()) ?? "")?.[1];
			return part === undefined ? undefined : Number(part) * SLICES;
		}),
	);
}

/** Resolves once these nodes have the slices among them, each its share, and all of them know of each other. */
export async function settled(nodes: readonly NexusProcess[]): Promise<void> {
	const wanted = nodes.map((_, i) => Math.floor(SLICES / nodes.length) + (i < SLICES % nodes.length ? 1 : 0));
	await eventually("the subscriptions are shared out", async () => {
		const shares = (await sharesOf(nodes)).map((share) => share ?? -1).sort((a, b) => b - a);
		return shares.join() === wanted.join() && (await Promise.all(nodes.map(knowsAll))).every(Boolean);
	});
}

/** Whether it knows for each subscription whom to ask. */
async function knowsAll({ url }: NexusProcess): Promise<boolean> {
	const { trouble = {} } = (await (await fetch(`${url}/readyz`)).json()) as { trouble?: { dispatch?: string } };
	return trouble.dispatch === undefined;
}

/** The index of the node that answers for that subscription. */
export async function holderOf(nodes: readonly NexusProcess[], name: string): Promise<number> {
	let found = -1;
	await eventually(`one node has ${name}`, async () => {
		const statuses = await Promise.all(nodes.map(({ url }) => statusOf(`${url}/v1/subscriptions/${name}`)));
		found = statuses.findIndex((status) => status === 200 || status === 404);
		return found >= 0;
	});
	return found;
}

/** 0 where nobody answers. */
export async function statusOf(url: string, init: RequestInit = {}): Promise<number> {
	try {
		const answer = await fetch(url, { redirect: "manual", ...init });
		await answer.arrayBuffer();
		return answer.status;
	} catch {
		return 0;
	}
}

/** Names of subscriptions, each of another slice, spread over all numbers of slices. */
export function namesOfSlices(count: number, prefix = "lane"): readonly string[] {
	const names: string[] = [];
	for (let n = 0; names.length < count; n++)
		if (sliceOf(`${prefix}-${n}`) === Math.floor((names.length * SLICES) / count)) names.push(`${prefix}-${n}`);
	return names;
}

/** Subscriptions to the events of `produceAll`, each to its own path of the receiver, made by any node. */
export async function makeLanes(url: string, receiver: Receiver, names: readonly string[]): Promise<void> {
	for (const name of names) {
		const document = {
			filter: { type: "test.keyed" },
			sink: { kind: "webhook", url: `${receiver.url}/${name}` },
			strategy: "keyed",
			delivery: { ackWait: `${ACK_WAIT_MS}ms`, backoff: ["50ms"], concurrency: CONCURRENCY },
		};
		const body = JSON.stringify(document);
		const made = await fetch(`${url}/v1/subscriptions/${name}`, { method: "PUT", headers: { "content-type": "application/json" }, body });
		assert.equal(made.status, 201, await made.text());
	}
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

/** Events of several keys, those of a key one after the other. */
export interface Producing {
	readonly accepted: ReadonlySet<string>;
	readonly done: Promise<unknown>;
}

type GoesOn = (n: number) => boolean | Promise<boolean>;

/** Load for as long as a test wants it: never so far ahead of the slowest that a slow machine has to make up for it afterwards. */
export class Load {
	readonly goesOn: GoesOn;
	#isOver = false;

	constructor(arrivals: readonly Arrival[], lanes: readonly string[]) {
		let started = 0;
		const isKeptUpWith = (): boolean => lanes.every((lane) => arrivals.filter((arrival) => arrival.lane === lane).length > started - AHEAD_MAX);
		this.goesOn = async () => {
			await eventually("the load is kept up with", async () => this.#isOver || isKeptUpWith());
			started++;
			return !this.#isOver;
		};
	}

	end(): void {
		this.#isOver = true;
	}
}

/** `urls`: the nodes to which they are sent; again until one takes them. `goesOn`: asked before the `n`th of a key. */
export function produceAll(urls: () => readonly string[], goesOn: GoesOn = (n) => n < EVENTS_PER_KEY): Producing {
	const accepted = new Set<string>();
	const keys = Array.from({ length: KEYS }, (_, k) => produce(urls, `k${k}`, goesOn, (id) => accepted.add(id)));
	return { accepted, done: Promise.all(keys) };
}

/** Sends one event after the other, at whichever node takes it, again until it is acknowledged. */
async function produce(urls: () => readonly string[], key: string, goesOn: GoesOn, onAccepted: (id: string) => void): Promise<void> {
	for (let n = 0; await goesOn(n); n++) {
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
 * Kills one of those that share the subscriptions, while all are under load: what was acknowledged is delivered by each of them, each key in order,
 * those of the others go on as if nothing were, and its own are taken over within `ackWait`.
 */
export async function assertNothingLost(t: TestContext, { nodes, start }: Nodes): Promise<void> {
	const receiver = await startReceiver(t);
	await settled(nodes);
	const [other, killed, ...more] = nodes;
	assert.ok(killed !== undefined && other !== undefined);
	const lanes = namesOfSlices(LANES);
	await makeLanes(other.url, receiver, lanes);
	const holders = await Promise.all(lanes.map((lane) => holderOf(nodes, lane)));
	const orphaned = lanes.filter((_, i) => holders[i] === 1);
	assert.ok(orphaned.length > 0 && orphaned.length < LANES, `one node has all of them: ${holders}`);

	let urls = nodes.map(({ url }) => url);
	const producing = produceAll(() => urls);
	await eventually("a third is accepted, and delivered by all", async () => {
		const delivering = new Set(receiver.arrivals.map(({ lane }) => lane));
		return producing.accepted.size > (KEYS * EVENTS_PER_KEY) / 3 && delivering.size === LANES;
	});
	const killedAtMs = performance.now();
	await killed.stop("SIGKILL");
	urls = [other, ...more].map(({ url }) => url);
	await producing.done;
	const repeated = await assertDelivered(receiver, lanes, producing);

	const silenceOf = (lane: string): number => {
		const after = receiver.arrivals.find((arrival) => arrival.lane === lane && arrival.atMs > killedAtMs + 100);
		return Math.round((after?.atMs ?? Number.POSITIVE_INFINITY) - killedAtMs);
	};
	const silences = orphaned.map(silenceOf);
	t.diagnostic(`after a kill, ${orphaned.length} of ${LANES} subscriptions were taken over in ${silences.join(", ")} ms; repeated: ${repeated}`);
	assert.ok(Math.max(...silences) < ACK_WAIT_MS, `nothing came for ${silences} ms`);
	assertRepeats(repeated, lanes, orphaned);

	// The one that was killed comes back, has its share again, and sees the same.
	const back = await start(1);
	await settled([other, back, ...more]);
	assert.deepEqual(await storedAt(back.url), await storedAt(other.url));
}

/**
 * Stops the process of a node for longer than its lease, as a pause of its machine does, and lets it go on: meanwhile the other node has its
 * subscriptions, and afterwards nothing comes out of order from the one that wakes up.
 */
export async function assertPauseIsHarmless(t: TestContext, { nodes }: Nodes): Promise<void> {
	const receiver = await startReceiver(t);
	await settled(nodes);
	const [other, paused] = nodes;
	assert.ok(paused !== undefined && other !== undefined);
	const lanes = namesOfSlices(LANES);
	await makeLanes(other.url, receiver, lanes);
	const holders = await Promise.all(lanes.map((lane) => holderOf(nodes, lane)));
	const producing = produceAll(() => [other.url]);
	await eventually("all deliver", async () => new Set(receiver.arrivals.map(({ lane }) => lane)).size === LANES);
	paused.child.kill("SIGSTOP");
	await settled([other]);
	const stoppedAt = receiver.arrivals.length;
	const moved = lanes.filter((_, i) => holders[i] === 1);
	await eventually("and the other one delivers them", async () => {
		const delivering = new Set(receiver.arrivals.slice(stoppedAt).map(({ lane }) => lane));
		return moved.every((lane) => delivering.has(lane));
	});
	paused.child.kill("SIGCONT");
	await producing.done;
	const repeated = await assertDelivered(receiver, lanes, producing);
	t.diagnostic(`repeated: ${repeated}`);
	assertRepeats(repeated, lanes, moved);
	// It has noticed, and has its share again.
	await settled(nodes);
}

/** Each lane has all that was accepted and nothing else, each key in order. Resolves with how many came again, by lane. */
export async function assertDelivered({ arrivals }: Receiver, lanes: readonly string[], { accepted }: Producing): Promise<readonly number[]> {
	const deliveredOf = (lane: string): Set<string> => new Set(arrivals.filter((arrival) => arrival.lane === lane).map(({ id }) => id));
	await eventually("everything is delivered", async () => lanes.every((lane) => deliveredOf(lane).size >= accepted.size));
	for (const lane of lanes) {
		const delivered = deliveredOf(lane);
		const lost = [...accepted].filter((id) => !delivered.has(id));
		assert.deepEqual(lost, [], `lost by ${lane}`);
		const invented = [...delivered].filter((id) => !accepted.has(id));
		assert.deepEqual(invented, [], `never accepted, of ${lane}`);
		assertInOrder(arrivals.filter((arrival) => arrival.lane === lane));
	}
	return lanes.map((lane) => arrivals.filter((arrival) => arrival.lane === lane).length - accepted.size);
}

/** Those of a node that lived all the time bring nothing twice, the others what was under way and not written down yet: less than a window. */
function assertRepeats(repeated: readonly number[], lanes: readonly string[], moved: readonly string[]): void {
	for (const [i, lane] of lanes.entries()) {
		const count = repeated[i] ?? 0;
		assert.ok(count <= (moved.includes(lane) ? WINDOW : 0), `${lane} brought ${count} twice; ${moved} have moved`);
	}
}

/** Again is allowed, ahead of its turn is not. */
function assertInOrder(arrivals: readonly Arrival[]): void {
	const next = new Map<string, number>();
	for (const { lane, key, n } of arrivals) {
		const wanted = next.get(key) ?? 0;
		assert.ok(n <= wanted, `${lane}: ${key}: ${n} came before ${wanted}`);
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
