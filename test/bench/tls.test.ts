import assert from "node:assert/strict";
import { test } from "node:test";
import { judge } from "../../bench/budgets.ts";
import type { Results } from "../../bench/results.ts";
import { summarizeTls, type TlsSample } from "../../bench/tls/measure.ts";

function sample(userUs: number, systemUs: number): TlsSample {
	return { perSecond: 1_000, userUs, systemUs };
}

test("the ratio is that of the CPU of both proxies, within a round", () => {
	const ours = [sample(10, 10), sample(20, 20)];
	const row = summarizeTls("hop", "envoy", { samples: [sample(20, 20), sample(20, 30)], faults: [] }, ours);
	assert.deepEqual(row.ratio, { median: (0.5 + 0.8) / 2, min: 0.5, max: 0.8 });
	assert.deepEqual([row.userUs, row.systemUs], [20, 25]);
	assert.equal(summarizeTls("hop", "ours", { samples: ours, faults: [] }, ours).ratio, undefined);
});

test("a budget is judged where its peer was measured, and a fault on either side makes it invalid", () => {
	const ours = [sample(10, 10)];
	const rowOf = (faults: string[]) => [
		summarizeTls("listener", "ours", { samples: ours, faults: [] }, ours),
		summarizeTls("listener", "haproxy", { samples: [sample(8, 8)], faults }, ours),
		summarizeTls("listener", "nginx", { samples: [sample(8, 8)], faults: [] }, ours),
	];
	const verdicts = (faults: string[]) =>
		judge({ tls: rowOf(faults) } as unknown as Results).map(({ what, value, outcome }) => [what, value, outcome]);
	assert.deepEqual(verdicts([]), [["CPU, listener with mutual TLS / haproxy", 1.25, "met"]]);
	assert.equal(verdicts(["round 1: it ended"])[0]?.[2], "invalid");
});
