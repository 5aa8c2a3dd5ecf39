/** A subscription that nothing is for: its place is kept, so that a start after a crash has little to look at again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeProgress } from "../../../src/nexus/subscriptions/progress.ts";
import { numbered } from "../support.ts";
import { memoryHouse, mortal, quiet, until } from "./support.ts";

test("the position of an idle subscription is written down now and then, and a start goes on from there", async (t) => {
	const house = await memoryHouse(t);
	const life = mortal(house.state);
	const first = await house.open({ state: life.store });
	await first.put("idle", { filter: { type: "never" }, sink: { kind: "pull" } });
	await first.put("busy", { filter: { type: "t" }, sink: { kind: "pull" }, delivery: { window: 1 } });
	let last = 0;
	for (let n = 0; n < 5; n++) last = await house.publish(...numbered(`${n}-`, 4000));
	const position = (): number => first.get("idle")?.branches[0]?.dispatcher.position ?? 0;
	await until("it has seen all", () => position() === last);
	const kept = async (name: string): Promise<number | undefined> => {
		const found = await house.state.cursor(`subscription/${name}`);
		return found.ok ? decodeProgress(found.value)?.position : undefined;
	};
	assert.notEqual(await kept("idle"), last);
	house.clock.advance(30_000);
	house.clock.advance(100);
	await quiet();
	assert.equal(await kept("idle"), last);
	life.kill();
	const second = await house.open();
	assert.equal(second.get("idle")?.branches[0]?.dispatcher.position, last);
	assert.equal(second.get("busy")?.numbers.open, 1);
	await second.close();
});
