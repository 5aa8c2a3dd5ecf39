/** Whatever consumers answer, or do not, and whenever the process dies: each event arrives at least once or is parked, and keys keep their order. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { fetchOnce } from "../../../src/nexus/subscriptions/consumers.ts";
import type { Subscriptions } from "../../../src/nexus/subscriptions/subscriptions.ts";
import type { TestEvent } from "../support.ts";
import { memoryHouse, mortal, quiet } from "./support.ts";

const ROUNDS = 8;
const STEPS = 120;
const NAMES = ["plain", "keyed", "small"] as const;

const DOCUMENTS: Readonly<Record<(typeof NAMES)[number], object>> = {
	plain: { filter: { type: "order.*" }, sink: { kind: "pull" }, delivery: { attempts: 4, backoff: ["1s", "4s"], ackWait: "5s" }, from: "all" },
	keyed: {
		filter: { type: "order.*" },
		sink: { kind: "pull" },
		strategy: "keyed",
		delivery: { attempts: 3, backoff: ["1s"], ackWait: "5s" },
		from: "all",
	},
	// Behind all the time: it reads on its own.
	small: {
		filters: [{ prefix: { type: "order." } }],
		sink: { kind: "pull" },
		delivery: { attempts: 3, window: 3, backoff: ["500ms"], ackWait: "2s" },
		from: "all",
	},
};

async function run(t: TestContext, seed: number): Promise<void> {
	const random = seededRng(seed);
	const pick = (n: number): number => Math.floor(random() * n);
	const house = await memoryHouse(t);
	const published: { sequence: number; key: string | undefined }[] = [];
	/** By subscription: what a consumer has got, and what it has said it is done with, or will never take. */
	const got = new Map(NAMES.map((name) => [name, new Map<number, number>()]));
	const done = new Map(NAMES.map((name) => [name, new Set<number>()]));
	const parked = async (subscriptions: Subscriptions, name: string): Promise<Set<number>> => {
		const page = await subscriptions.letters.page(name, undefined, 1000);
		assert.ok("letters" in page);
		return new Set(page.letters.map(({ sequence }) => sequence));
	};

	let life = mortal(house.state);
	let subscriptions = await house.open({ state: life.store, rng: random });
	for (const name of NAMES) assert.ok((await subscriptions.put(name, DOCUMENTS[name])).ok);

	const publish = async (): Promise<void> => {
		const events = Array.from({ length: 1 + pick(8) }, (_, i): TestEvent => {
			const key = pick(3) === 0 ? undefined : `k${pick(4)}`;
			return {
				id: `${published.length}-${i}-${pick(1e9)}`,
				type: pick(4) === 0 ? "invoice.paid" : "order.created",
				...(key === undefined ? {} : { partitionkey: key }),
			};
		});
		const last = await house.publish(...events);
		events.forEach(({ type, partitionkey }, i) => {
			if (type === "order.created") published.push({ sequence: last - events.length + 1 + i, key: partitionkey });
		});
		await quiet();
	};

	const consume = async (name: (typeof NAMES)[number], isKind: boolean): Promise<number> => {
		const consumers = subscriptions.get(name)?.consumers;
		assert.ok(consumers !== undefined);
		const entries = await fetchOnce(consumers, 1 + pick(6), 0, house.clock).entries;
		assert.ok(entries !== "too_many");
		const taken = await consumers.shown(entries);
		const answers = {
			ack: [] as string[],
			nak: [] as { token: string; delayMs?: number }[],
			term: [] as { token: string }[],
			progress: [] as string[],
		};
		const letters = name === "keyed" ? await parked(subscriptions, name) : new Set<number>();
		for (const { sequence, token } of taken) {
			const counts = got.get(name);
			counts?.set(sequence, (counts.get(sequence) ?? 0) + 1);
			const key = published.find((event) => event.sequence === sequence)?.key;
			if (name === "keyed" && key !== undefined) {
				const before = published.filter((event) => event.key === key && event.sequence < sequence);
				for (const event of before) {
					assert.ok(
						done.get(name)?.has(event.sequence) || letters.has(event.sequence),
						`${sequence} of ${key} came before the end of ${event.sequence}`,
					);
				}
			}
			const fate = isKind ? 0 : pick(10);
			if (fate < 4) {
				answers.ack.push(token);
				done.get(name)?.add(sequence);
			} else if (fate === 4) answers.nak.push({ token });
			else if (fate === 5) answers.nak.push({ token, delayMs: pick(3000) });
			else if (fate === 6) answers.term.push({ token });
			else if (fate === 7) answers.progress.push(token);
			// Otherwise there is no answer.
		}
		const answered = consumers.answer(answers);
		// Sometimes nobody waits for it, and the crash is faster.
		if (isKind || pick(3) > 0) await Promise.race([answered, quiet()]);
		await quiet();
		return taken.length;
	};

	for (let step = 0; step < STEPS; step++) {
		const what = pick(20);
		if (what < 6) await publish();
		else if (what < 15) await consume(NAMES[pick(NAMES.length)] ?? "plain", false);
		else if (what < 18) {
			house.clock.advance(pick(6000));
			await quiet();
		} else if (what === 18) {
			// kill -9
			life.kill();
			life = mortal(house.state);
			subscriptions = await house.open({ state: life.store, rng: random });
			await quiet();
		} else {
			await subscriptions.close();
			subscriptions = await house.open({ state: life.store, rng: random });
			await quiet();
		}
	}

	for (const name of NAMES) {
		for (let idle = 0; idle < 14; ) {
			idle = (await consume(name, true)) > 0 ? 0 : idle + 1;
			house.clock.advance(1000);
			await quiet();
		}
		const letters = await parked(subscriptions, name);
		for (const { sequence } of published) {
			assert.ok(done.get(name)?.has(sequence) || letters.has(sequence), `${name}: ${sequence} was neither delivered nor parked (seed ${seed})`);
			assert.ok((got.get(name)?.get(sequence) ?? 0) > 0, `${name}: nobody ever got ${sequence} (seed ${seed})`);
		}
		const wrong = [...(got.get(name)?.keys() ?? [])].filter((sequence) => !published.some((event) => event.sequence === sequence));
		assert.deepEqual(wrong, [], `${name}: got what its filter does not pass (seed ${seed})`);
		assert.equal(subscriptions.get(name)?.numbers.open, 0);
	}
	await subscriptions.close();
}

test("acknowledgements, refusals, silence, restarts and crashes in any order: every event arrives or is parked, keys in order", async (t) => {
	for (let seed = 1; seed <= ROUNDS; seed++) await t.test(`seed ${seed}`, (t) => run(t, seed));
});
