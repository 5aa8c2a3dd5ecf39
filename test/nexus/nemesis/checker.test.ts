/** The checker of a run finds each kind of fault, and nothing where there is none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { violationsOf } from "./checker.ts";
import type { Fate, History, Moment, Seen, Sent } from "./history.ts";

const EVENTS: readonly (readonly [key: string, n: number, fate: Fate])[] = [
	["a", 0, "good"],
	["b", 0, "flaky"],
	["a", 1, "poison"],
	["b", 1, "slow"],
	["a", 2, "good"],
];
/** Sent, and its sender never heard whether it was taken. */
const UNHEARD = "a-2";

const sentEvents = EVENTS.map(([key, n, fate]): Sent => ({ id: `${key}-${n}`, key, n, fate, digest: `digest of ${key}-${n}` }));
const seen = (id: string, sequence: number, digest = `digest of ${id}`): Seen => ({ id, digest, sequence });
const delivered = (id: string, digest = `digest of ${id}`): Moment => ({ what: "delivered", id, digest });
const accepted = (id: string): Moment => ({ what: "accepted", id });
const settled = (id: string): Moment => ({ what: "settled", id });
const closed: Moment = { what: "closed" };

/** A run in which everything went as it should: a poisoned event became a dead letter, another came twice. */
function goodRun(): Omit<History, "isTakenOnce"> & {
	isTakenOnce: boolean;
	acknowledged: Set<string>;
	stored: Seen[];
	followed: Seen[];
	gaps: { where: string; first: number; last: number }[];
	subscriptions: { name: string; moments: Moment[]; parked: Set<string>; dead: Seen[] }[];
} {
	const stored = sentEvents.map(({ id }, i) => seen(id, i + 10));
	const moments = [
		...[delivered("a-0"), accepted("a-0"), settled("a-0"), delivered("b-0"), delivered("b-0"), accepted("b-0")],
		...[delivered("a-1"), delivered("b-1"), accepted("b-1"), delivered("a-2"), accepted("a-2"), delivered("a-2"), settled("a-2")],
		...[closed, delivered("a-1")],
	];
	return {
		isTakenOnce: true,
		sent: new Map(sentEvents.map((sent) => [sent.id, sent])),
		acknowledged: new Set(sentEvents.map(({ id }) => id).filter((id) => id !== UNHEARD)),
		stored,
		followed: [...stored],
		gaps: [],
		subscriptions: [{ name: "hook", moments, parked: new Set(["a-1"]), dead: [seen("a-1", 12)] }],
	};
}

type Run = ReturnType<typeof goodRun>;
const hook = (run: Run): Run["subscriptions"][0] => run.subscriptions[0] ?? assert.fail();
const without = (moments: readonly Moment[], id: string): Moment[] => moments.filter((moment) => moment.what === "closed" || moment.id !== id);

test("a run in which all was kept has no violations", () => {
	assert.deepEqual(violationsOf(goodRun()), []);
});

test("an event that nobody heard of may be missing everywhere", () => {
	const run = goodRun();
	run.stored.pop();
	run.followed.pop();
	hook(run).moments = without(hook(run).moments, UNHEARD);
	assert.deepEqual(violationsOf(run), []);
});

test("where a log may keep an event twice, it may come as often", () => {
	const run = goodRun();
	run.isTakenOnce = false;
	run.stored.push(seen("a-0", 20), seen("a-1", 21));
	run.followed.push(seen("a-0", 20), seen("a-1", 21));
	const { moments, dead } = hook(run);
	hook(run).moments = moments.toSpliced(moments.indexOf(closed), 0, delivered("a-0"), delivered("a-1"));
	dead.push(seen("a-1", 21));
	assert.deepEqual(violationsOf(run), []);
});

const faults: readonly (readonly [title: string, spoil: (run: Run) => void, expected: readonly string[]])[] = [
	["an acknowledged event that the log has not", (run) => run.stored.splice(1, 1), ["log lost b-0", "follower unexpected b-0 as 11"]],
	["an event in the log that nobody sent", (run) => run.stored.push(seen("z-0", 20)), ["log unexpected z-0", "follower lost z-0", "hook lost z-0"]],
	["an event that the log keeps twice", (run) => run.stored.push(seen("b-1", 20)), ["log repeated b-1", "follower lost b-1"]],
	["a log that holds something else", (run) => run.stored.splice(0, 1, seen("a-0", 10, "else")), ["log altered a-0"]],
	[
		"a sequence that goes back",
		(run) => run.stored.splice(4, 1, seen("a-2", 9)),
		["log reordered a-2", "follower unexpected a-2 as 14", "follower lost a-2"],
	],
	[
		"a key whose events are stored in another order",
		(run) => {
			run.stored.splice(0, 1, seen("a-1", 10));
			run.stored.splice(2, 1, seen("a-0", 12));
			run.followed.splice(0, 5, ...run.stored);
		},
		["log reordered a-0"],
	],
	["a gap", (run) => run.gaps.push({ where: "log", first: 3, last: 4 }), ["log gap 3-4"]],
	["a follower that has missed one", (run) => run.followed.splice(2, 1), ["follower lost a-1"]],
	["a follower that was told one twice", (run) => run.followed.push(seen("a-2", 14)), ["follower repeated a-2"]],
	["a follower that was told another event", (run) => run.followed.splice(0, 1, seen("b-0", 10)), ["follower unexpected b-0 as 10"]],
	["a follower that was told in another order", (run) => run.followed.reverse(), ["follower reordered b-1 a-1 b-0 a-0"]],
	[
		"an event that was never delivered",
		(run) => {
			hook(run).moments = without(hook(run).moments, "b-1");
		},
		["hook lost b-1"],
	],
	[
		"a stored event, acknowledged to nobody, that was never delivered",
		(run) => {
			hook(run).moments = without(hook(run).moments, UNHEARD);
		},
		["hook lost a-2"],
	],
	["a delivery of what nobody sent", (run) => hook(run).moments.unshift(delivered("z-0")), ["hook unexpected z-0", "hook unaccounted z-0"]],
	["a repeated delivery with something else in it", (run) => hook(run).moments.unshift(delivered("b-0", "else")), ["hook altered b-0"]],
	[
		"a delivery ahead of an earlier one of its key",
		(run) => {
			const moments = without(hook(run).moments, "b-0");
			hook(run).moments = moments.toSpliced(moments.indexOf(closed), 0, delivered("b-0"), accepted("b-0"));
		},
		["hook reordered b-1"],
	],
	[
		"a delivery while an earlier one of its key is not done",
		(run) => {
			const { moments } = hook(run);
			hook(run).moments = moments.toSpliced(moments.indexOf(closed), 0, accepted("b-0")).toSpliced(5, 1);
		},
		["hook reordered b-1"],
	],
	["a delivery after all was done", (run) => hook(run).moments.push(delivered("b-1")), ["hook came-again b-1"]],
	["a delivery after its acknowledgement was kept", (run) => hook(run).moments.push(delivered("a-0")), ["hook came-again a-0"]],
	["a poisoned event that is no dead letter", (run) => hook(run).dead.pop(), ["hook unaccounted a-1"]],
	["a delivered event that is a dead letter as well", (run) => hook(run).dead.push(seen("a-0", 10)), ["hook unaccounted a-0"]],
	["a dead letter that is there twice", (run) => hook(run).dead.push(seen("a-1", 12)), ["hook repeated a-1"]],
	["a dead letter with something else in it", (run) => hook(run).dead.splice(0, 1, seen("a-1", 12, "else")), ["hook altered a-1"]],
	[
		"an event that came and was neither accepted nor parked",
		(run) => {
			hook(run).moments = hook(run).moments.filter((moment) => moment.what !== "accepted" || moment.id !== "b-1");
		},
		["hook unaccounted b-1"],
	],
];

for (const [title, spoil, expected] of faults) {
	test(`the checker finds ${title}`, () => {
		const run = goodRun();
		spoil(run);
		assert.deepEqual(
			violationsOf(run).map(({ where, kind, ids }) => `${where} ${kind} ${ids.join(" ")}`),
			expected,
		);
	});
}
