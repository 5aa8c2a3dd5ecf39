/** Real processes, killed in the middle of their work: what was acknowledged does not come again, and nothing is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRng } from "../../../src/core/rng.ts";
import { type NexusProcess, spawnNexus } from "../nexus-process.ts";
import { numbered, temporaryDir } from "../support.ts";
import { call, publish, until } from "./support.ts";

interface Fetched {
	readonly deliveries: readonly { readonly token: string; readonly event: { readonly id: string; readonly partitionkey?: string } }[];
}

const ROUNDS = 6;
const EVENTS = 40;

test("kill -9, round after round: no acknowledged event comes again, none is lost, and keys stay in order", async (t) => {
	const dir = temporaryDir(t);
	const args = ["--listen", "127.0.0.1:0", "--data", dir];
	const random = seededRng(3);
	/** In the order of their first delivery. */
	const got: string[] = [];
	const acknowledged = new Set<string>();
	let running: NexusProcess | undefined;
	t.after(() => running?.child.kill("SIGKILL"));
	let carried: { token: string; id: string } | undefined;
	for (let round = 0; round <= ROUNDS; round++) {
		const isLast = round === ROUNDS;
		const nexus = await spawnNexus(args);
		running = nexus;
		const at = `${nexus.url}/v1/subscriptions/s`;
		if (round === 0) {
			const document = {
				filter: { type: "t" },
				sink: { kind: "pull" },
				strategy: "keyed",
				delivery: { backoff: ["10ms"], ackWait: "1s", attempts: 100 },
			};
			assert.equal((await call(at, "PUT", document)).status, 201);
		}
		if (carried !== undefined) {
			// It was given out before the crash, and its consumer has done the work.
			const { token, id } = carried;
			const ack = async (): Promise<number> => (await call<{ settled: number }>(`${at}/ack`, "POST", { ack: [token] })).json.settled;
			await until("its token holds across the restart", async () => (await ack()) === 1);
			acknowledged.add(id);
			carried = undefined;
		}
		if (!isLast) {
			for (const key of ["a", "b", "c", "d"]) {
				await publish(nexus.url, ...numbered(`${key}-${round}-`, EVENTS / 4, { partitionkey: key }));
			}
		}
		const killAfter = isLast ? Number.POSITIVE_INFINITY : Math.floor(random() * 12);
		for (let n = 0; n <= killAfter; n++) {
			const { deliveries } = (await call<Fetched>(`${at}/fetch`, "POST", { max: 3, wait: isLast ? "3s" : "100ms" })).json;
			if (isLast && deliveries.length === 0) break;
			for (const { event } of deliveries) {
				assert.ok(!acknowledged.has(event.id), `${event.id} was acknowledged and came again`);
				if (!got.includes(event.id)) got.push(event.id);
			}
			const tokens = deliveries.map(({ token }) => token);
			if (n === killAfter && deliveries[0] !== undefined) {
				carried = { token: deliveries[0].token, id: deliveries[0].event.id };
				break;
			}
			await call(`${at}/ack`, "POST", { ack: tokens });
			for (const { event } of deliveries) acknowledged.add(event.id);
		}
		await nexus.stop(isLast ? "SIGTERM" : "SIGKILL");
	}
	assert.equal(acknowledged.size, ROUNDS * EVENTS);
	for (const key of ["a", "b", "c", "d"]) {
		const order = got.filter((id) => id.startsWith(`${key}-`)).map((id) => id.split("-").slice(1).map(Number));
		const sorted = [...order].sort(([r1 = 0, n1 = 0], [r2 = 0, n2 = 0]) => r1 - r2 || n1 - n2);
		assert.deepEqual(order, sorted, key);
	}
});
