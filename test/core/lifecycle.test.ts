/** Ordered clean-up. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Lifecycle } from "../../src/core/lifecycle.ts";

describe("a lifecycle", () => {
	it("closes what was opened last first, one after the other", async () => {
		const lifecycle = new Lifecycle();
		const order: string[] = [];
		lifecycle.onClose("first", () => void order.push("first"));
		lifecycle.onClose("slow", async () => {
			order.push("slow begins");
			await new Promise((resolve) => setImmediate(resolve));
			order.push("slow ends");
		});
		lifecycle.onClose("last", () => void order.push("last"));
		assert.deepEqual(await lifecycle.close(), []);
		assert.deepEqual(order, ["last", "slow begins", "slow ends", "first"]);
	});

	it("runs every closer and tells all failures by name, thrown or rejected, with their causes", async () => {
		const lifecycle = new Lifecycle();
		let ran = false;
		lifecycle.onClose("below", () => {
			ran = true;
		});
		lifecycle.onClose("thrower", () => {
			throw new Error("a");
		});
		lifecycle.onClose("rejecter", () => Promise.reject(new Error("b")));
		const failures = await lifecycle.close();
		assert.equal(ran, true);
		assert.deepEqual(
			failures.map(({ message, cause }) => [message, (cause as Error).message]),
			[
				["closing rejecter failed", "b"],
				["closing thrower failed", "a"],
			],
		);
	});

	it("runs once, however often and from wherever it is closed", async () => {
		const lifecycle = new Lifecycle();
		let runs = 0;
		lifecycle.onClose("one", () => {
			runs++;
			void lifecycle.close();
		});
		assert.deepEqual(await Promise.all([lifecycle.close(), lifecycle.close()]), [[], []]);
		await lifecycle.close();
		assert.equal(runs, 1);
	});
});
