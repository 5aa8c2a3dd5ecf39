/** How many handshakes may be under way, wait, and begin in one turn. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Handshake, Handshakes } from "../../src/net/tls-handshakes.ts";
import { FakeClock } from "../support/fake-clock.ts";

class Told implements Handshake {
	readonly name: string;
	readonly #log: string[];

	constructor(name: string, log: string[]) {
		this.name = name;
		this.#log = log;
	}

	begin(): void {
		this.#log.push(`begin ${this.name}`);
	}

	giveUp(): void {
		this.#log.push(`give up ${this.name}`);
	}
}

function setUp(limits = { underWayMax: 3, waitingMax: 2, beginsPerTurn: 2, graceMs: 1000 }) {
	const clock = new FakeClock();
	const log: string[] = [];
	return { clock, log, handshakes: new Handshakes(clock, limits), one: (name: string) => new Told(name, log) };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("handshakes", () => {
	it("begin at once, so many per turn of the loop, the others in order of arrival", async () => {
		const { log, handshakes, one } = setUp();
		for (const name of ["a", "b", "c"]) handshakes.enter(one(name));
		assert.deepEqual(log, ["begin a", "begin b"]);
		await turn();
		assert.deepEqual(log, ["begin a", "begin b", "begin c"]);
		assert.deepEqual(handshakes.stats, { underWay: 3, waiting: 0, begun: 3, givenUp: 0 });
	});

	it("wait while all places are taken, and are given up when too many wait", async () => {
		const { log, handshakes, one } = setUp();
		const first = one("a");
		for (const handshake of [first, one("b"), one("c"), one("d")]) handshakes.enter(handshake);
		await turn();
		handshakes.enter(one("e"));
		handshakes.enter(one("f"));
		assert.deepEqual(log, ["begin a", "begin b", "begin c", "give up f"]);
		handshakes.leave(first);
		await turn();
		assert.deepEqual(log.slice(4), ["begin d"]);
		assert.deepEqual(handshakes.stats, { underWay: 3, waiting: 1, begun: 4, givenUp: 1 });
	});

	it("make room when they have had their time and others wait", async () => {
		const { clock, log, handshakes, one } = setUp({ underWayMax: 1, waitingMax: 2, beginsPerTurn: 2, graceMs: 1000 });
		handshakes.enter(one("slow"));
		clock.advance(999);
		handshakes.enter(one("next"));
		await turn();
		assert.deepEqual(log, ["begin slow"]);
		clock.advance(1);
		handshakes.enter(one("last"));
		await turn();
		assert.deepEqual(log, ["begin slow", "give up slow", "begin next"]);
	});

	it("that leave while they wait are not begun; leaving twice, or unknown, changes nothing", async () => {
		const { log, handshakes, one } = setUp({ underWayMax: 1, waitingMax: 2, beginsPerTurn: 2, graceMs: 1000 });
		const [first, waiting] = [one("first"), one("waiting")];
		handshakes.enter(first);
		handshakes.enter(waiting);
		handshakes.leave(waiting);
		handshakes.leave(first);
		handshakes.leave(first);
		handshakes.leave(one("unknown"));
		await turn();
		assert.deepEqual(log, ["begin first"]);
		assert.deepEqual(handshakes.stats, { underWay: 0, waiting: 0, begun: 1, givenUp: 0 });
	});
});
