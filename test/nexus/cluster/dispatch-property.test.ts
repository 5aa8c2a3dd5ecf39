/**
 * Whatever nodes come, go, die or stand still: a subscription is never at two of them, nothing is lost, keys stay in order, and what was acknowledged
 * for good does not come again. Real parts on one log and one state in memory, each node on a clock of its own.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Clock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { Cluster } from "../../../src/nexus/cluster/cluster.ts";
import { Dispatch } from "../../../src/nexus/cluster/dispatch.ts";
import { SLICES, shareOf } from "../../../src/nexus/cluster/slices.ts";
import type { StateStore } from "../../../src/nexus/state/state-store.ts";
import { fetchOnce } from "../../../src/nexus/subscriptions/consumers.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { type MemoryHouse, memoryHouse } from "../subscriptions/support.ts";
import { namesOfSlices } from "./nodes.ts";

const LEASE_MS = 3_000;
const STEP_MS = 50;
const STEPS = 60;
const NODES_MAX = 5;
const KEYS = 4;
const NAMES = namesOfSlices(8, "queue");
const DOCUMENT = {
	filter: { type: "order" },
	sink: { kind: "pull" },
	strategy: "keyed",
	delivery: { attempts: 100, backoff: ["200ms"], ackWait: "2s" },
	from: "all",
};

/** A process that stands still finds, when it goes on, that its time has gone on without it. */
class StoppableClock implements Clock {
	readonly inner = new FakeClock();
	#missedMs = 0;

	monotonicMs(): number {
		return this.inner.monotonicMs() + this.#missedMs;
	}

	wallMs(): number {
		return this.inner.wallMs() + this.#missedMs;
	}

	setTimer(delayMs: number, callback: () => void): ReturnType<Clock["setTimer"]> {
		return this.inner.setTimer(delayMs, callback);
	}

	miss(ms: number): void {
		this.#missedMs += ms;
	}
}

/** The way of a node to the state: it stands still with what is on it, goes on, or ends. */
interface Way {
	readonly store: StateStore;
	hold(): void;
	release(): void;
}

function wayTo(store: StateStore): Way {
	let gate: PromiseWithResolvers<void> | undefined;
	return {
		store: new Proxy(store, {
			get(target, name) {
				const value = Reflect.get(target, name, target) as unknown;
				if (typeof value !== "function" || name === "stats" || name === "onChange") return value;
				return (...args: unknown[]) => {
					const call = (): unknown => Reflect.apply(value, target, args);
					return gate === undefined ? call() : gate.promise.then(call);
				};
			},
		}),
		hold() {
			gate ??= Promise.withResolvers();
		},
		release() {
			gate?.resolve();
			gate = undefined;
		},
	};
}

interface Node {
	readonly id: string;
	readonly clock: StoppableClock;
	readonly dispatch: Dispatch;
	readonly cluster: Cluster;
	readonly way: Way;
	/** Since when, by the steps of all. */
	stoppedForMs: number | undefined;
}

interface Held {
	readonly name: string;
	readonly token: string;
	readonly sequence: number;
}

async function startNode({ log, state }: MemoryHouse, id: string): Promise<Node> {
	const clock = new StoppableClock();
	const way = wayTo(state);
	const cluster = new Cluster({ state: way.store, nodeId: id, host: "test", version: "1", leaseMs: LEASE_MS, clock, logger: silentLogger });
	const options = { log, state: way.store, clock, rng: seededRng(1), logger: silentLogger, instance: "test" };
	const dispatch = await Dispatch.open({ ...options, cluster });
	await cluster.announce(`http://${id}.test`);
	await dispatch.start();
	return { id, clock, dispatch, cluster, way, stoppedForMs: undefined };
}

async function settledTurn(): Promise<void> {
	for (let i = 0; i < 25; i++) await new Promise((resolve) => setImmediate(resolve));
}

class World {
	readonly house: MemoryHouse;
	readonly nodes: Node[] = [];
	readonly #closing = new Set<Node>();
	readonly #random: () => number;
	#started = 0;
	#published = 0;
	/** By key: sequences in their order. */
	readonly #byKey = new Map<string, number[]>();
	readonly #keyOf = new Map<number, string>();
	/** By subscription: those delivered so far, and those acknowledged for good. */
	readonly #delivered = new Map(NAMES.map((name) => [name, new Set<number>()]));
	readonly #done = new Map(NAMES.map((name) => [name, new Set<number>()]));
	#held: Held[] = [];
	deliveries = 0;

	constructor(house: MemoryHouse, random: () => number) {
		this.house = house;
		this.#random = random;
	}

	get running(): Node[] {
		return this.nodes.filter(({ stoppedForMs }) => stoppedForMs === undefined);
	}

	pick<T>(of: readonly T[]): T {
		return of[Math.floor(this.#random() * of.length)] as T;
	}

	async join(): Promise<void> {
		const starting = startNode(this.house, `n${String(this.#started++).padStart(3, "0")}`);
		this.nodes.push(await this.whilePassing(starting));
	}

	/** In order. */
	async leave(node: Node): Promise<void> {
		this.#closing.add(node);
		await this.whilePassing(node.dispatch.close().then(() => node.cluster.close()));
		this.nodes.splice(this.nodes.indexOf(node), 1);
		this.#closing.delete(node);
	}

	die(node: Node): void {
		node.way.hold();
		this.nodes.splice(this.nodes.indexOf(node), 1);
	}

	/** With answers that have just come, and what they lead to on the way to the state. */
	stop(node: Node): void {
		node.stoppedForMs = 0;
		node.way.hold();
		const late = this.#held.filter(({ name }) => node.dispatch.isHere(name) && this.#random() < 0.5);
		this.#held = this.#held.filter((held) => !late.includes(held));
		for (const held of late) void this.#acknowledge(node, held);
	}

	/** It has not noticed yet that its leases have run out, and is asked for events before any of its timers has run. */
	async wake(node: Node): Promise<void> {
		const missedMs = node.stoppedForMs ?? 0;
		node.stoppedForMs = undefined;
		node.clock.miss(missedMs);
		node.way.release();
		if (missedMs > LEASE_MS) {
			for (const { name, consumers } of node.dispatch.subscriptions.values()) {
				assert.equal(node.dispatch.isHere(name), false);
				const { entries } = fetchOnce(consumers ?? assert.fail(), 10, 0, node.clock);
				assert.deepEqual(await entries, [], `${node.id} was away for ${missedMs} ms, and gives events of ${name}`);
			}
		}
	}

	async pass(ms: number): Promise<void> {
		for (let left = ms; left > 0; left -= STEP_MS) {
			for (const node of this.nodes) {
				if (node.stoppedForMs === undefined) node.clock.inner.advance(STEP_MS);
				else node.stoppedForMs += STEP_MS;
			}
			await settledTurn();
			this.assertNeverTwice();
		}
	}

	async whilePassing<T>(under: Promise<T>): Promise<T> {
		let isOver = false;
		const over = under.finally(() => {
			isOver = true;
		});
		while (!isOver) await this.pass(STEP_MS);
		return over;
	}

	assertNeverTwice(): void {
		for (const name of NAMES) {
			const having = this.running.filter(({ dispatch }) => dispatch.isHere(name)).map(({ id }) => id);
			assert.ok(having.length <= 1, `${having} have ${name}`);
		}
	}

	async publish(): Promise<void> {
		const key = `k${Math.floor(this.#random() * KEYS)}`;
		const sequence = await this.house.publish({ id: `${++this.#published}`, type: "order", partitionkey: key });
		this.#keyOf.set(sequence, key);
		const all = this.#byKey.get(key);
		if (all === undefined) this.#byKey.set(key, [sequence]);
		else all.push(sequence);
	}

	async put(): Promise<void> {
		for (const name of NAMES) {
			const node = this.running.find(({ dispatch }) => dispatch.isHere(name)) ?? assert.fail(`nobody has ${name}`);
			assert.ok((await node.dispatch.subscriptions.put(name, DOCUMENT)).ok);
		}
	}

	/** A consumer takes some; it answers for each at once, later or never. */
	async consume(name: string): Promise<void> {
		const node = this.running.find(({ dispatch }) => dispatch.isHere(name));
		const consumers = node?.dispatch.subscriptions.get(name)?.consumers;
		if (node === undefined || consumers === undefined) return;
		const { entries } = fetchOnce(consumers, 1 + Math.floor(this.#random() * 6), 0, node.clock);
		const given = await entries;
		assert.ok(given !== "too_many");
		for (const { token, sequence } of await consumers.shown(given)) {
			this.#noteDelivered(name, sequence);
			if (this.#random() < 0.9) this.#held.push({ name, token, sequence });
		}
	}

	/** Answers go to whichever node has the subscription by then, as redirects lead them. */
	async answer(part: number): Promise<void> {
		const later: Held[] = [];
		for (const held of this.#held) {
			const { name } = held;
			const node = this.running.find(({ dispatch }) => dispatch.isHere(name));
			if (node === undefined || this.#random() > part) later.push(held);
			else await this.whilePassing(this.#acknowledge(node, held));
		}
		this.#held = later;
	}

	async finish(): Promise<void> {
		for (const node of this.nodes.filter(({ stoppedForMs }) => stoppedForMs !== undefined)) await this.wake(node);
		await this.pass(4 * LEASE_MS);
		const ids = this.nodes.map(({ id }) => id);
		for (const { id, dispatch } of this.nodes) {
			assert.equal(dispatch.part * SLICES, shareOf(id, ids), `the share of ${id} of ${ids}`);
			assert.equal(dispatch.orphans, 0);
		}
		const count = this.#keyOf.size;
		for (let round = 0; round < 200 && NAMES.some((name) => (this.#done.get(name)?.size ?? 0) < count); round++) {
			for (const name of NAMES) await this.consume(name);
			await this.answer(1);
			await this.pass(500);
		}
		for (const name of NAMES) assert.equal(this.#done.get(name)?.size, count, `of ${name}`);
		for (const node of [...this.nodes]) await this.leave(node);
	}

	async #acknowledge(node: Node, { name, token, sequence }: Held): Promise<void> {
		const consumers = node.dispatch.subscriptions.get(name)?.consumers ?? assert.fail();
		const { settled, isDurable } = await consumers.answer({ ack: [token], nak: [], term: [], progress: [] });
		if (settled === 1 && isDurable) this.#done.get(name)?.add(sequence);
	}

	#noteDelivered(name: string, sequence: number): void {
		this.deliveries++;
		assert.ok(!this.#done.get(name)?.has(sequence), `${sequence} of ${name} was acknowledged for good, and comes again`);
		const delivered = this.#delivered.get(name) ?? assert.fail();
		for (const before of this.#byKey.get(this.#keyOf.get(sequence) ?? "") ?? []) {
			if (before === sequence) break;
			assert.ok(delivered.has(before), `${sequence} of ${name} comes before ${before}, which has the same key`);
		}
		delivered.add(sequence);
	}
}

async function run(t: TestContext, seed: number): Promise<void> {
	const random = seededRng(seed);
	const world = new World(await memoryHouse(t), random);
	await world.join();
	await world.put();
	let joins = 1;
	for (let step = 0; step < STEPS; step++) {
		const { running, nodes } = world;
		const stopped = nodes.filter(({ stoppedForMs }) => stoppedForMs !== undefined);
		const chance = random();
		if (chance < 0.1 && nodes.length < NODES_MAX) {
			joins++;
			await world.join();
		} else if (chance < 0.14 && running.length > 1) await world.leave(world.pick(running));
		else if (chance < 0.18 && running.length > 1) world.die(world.pick(running));
		else if (chance < 0.24 && running.length > 1) world.stop(world.pick(running));
		else if (chance < 0.32 && stopped.length > 0) await world.wake(world.pick(stopped));
		for (let n = Math.floor(random() * 5); n > 0; n--) await world.publish();
		for (const name of NAMES) if (random() < 0.7) await world.consume(name);
		await world.answer(0.6);
		await world.pass(STEP_MS * (1 + Math.floor(random() * 20)));
	}
	await world.finish();
	t.diagnostic(`seed ${seed}: ${joins} nodes, ${world.deliveries} deliveries`);
}

for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
	test(`nodes that come, go, die and stand still lose nothing and repeat nothing that is done (seed ${seed})`, { timeout: 120_000 }, (t) =>
		run(t, seed),
	);
}

test("a node that joins is handed its share in order, and those that nobody answered for come again there", { timeout: 60_000 }, async (t) => {
	const world = new World(await memoryHouse(t), seededRng(5));
	await world.join();
	await world.put();
	for (let n = 0; n < 40; n++) await world.publish();
	for (const name of NAMES) await world.consume(name);
	await world.join();
	await world.pass(3_000);
	const [first, second] = world.nodes;
	assert.deepEqual([first?.dispatch.part, second?.dispatch.part], [0.5, 0.5]);
	await world.finish();
});
