/** What is told of the rules: counts, rolled-up events, lines of the log, and whom dry runs would have refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "../../../src/core/log.ts";
import type { NexusEventData } from "../../../src/events/catalogue.ts";
import { Verdict } from "../../../src/identity/authorization/verdict.ts";
import type { AuthorizationPolicy } from "../../../src/policy/authorization-policy.ts";
import { AuthorizationEvents } from "../../../src/sidecar/telling/authorization-events.ts";
import { id, policy, request, rule } from "../../identity/authorization/support.ts";
import { FakeClock } from "../../support/fake-clock.ts";

type Denied = NexusEventData["nexus.mesh.authorization.denied"];

const RULES = policy([
	{ name: "reads", from: ["frontend"] },
	{ name: "no", action: "deny", methods: ["PUT"] },
	{ name: "trial", action: "deny", dryRun: true, paths: ["/a"] },
]);
const [, NO, TRIAL] = RULES.rules;

function rig(rules: AuthorizationPolicy = RULES) {
	const clock = new FakeClock(1_000_000);
	const events: { data: Denied; subject: string | undefined }[] = [];
	const lines: { level: string; message: string; fields: Record<string, unknown> }[] = [];
	const at =
		(level: string) =>
		(message: string, fields: Record<string, unknown> = {}): void =>
			void lines.push({ level, message, fields });
	const log: Logger = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
	const told = new AuthorizationEvents({
		clock,
		log,
		feed: {
			emit(type, data, subject) {
				assert.equal(type, "nexus.mesh.authorization.denied");
				events.push({ data: data as Denied, subject });
			},
		},
	});
	told.adopt(rules);
	const deny = (caller: string, by: "rule" | "default" = "rule", path = "/x"): void => {
		const verdict = new Verdict();
		verdict.allowed = false;
		verdict.rule = by === "rule" ? NO : undefined;
		told.onVerdict(rules, verdict, { caller, address: "10.0.0.1" }, request("PUT", path));
	};
	const counts = (): Record<string, number> => {
		const found: Record<string, number> = {};
		told.source.collect((name, labels, value) => {
			assert.equal(name, "nexus_authorization_requests_total");
			const { rule: of, result } = labels as { rule: string; result: string };
			found[`${of} ${result}`] = value as number;
		});
		return found;
	};
	return { clock, events, lines, told, deny, counts };
}

test("refusals of one second are one event for each rule and caller, and one line for each rule", () => {
	const { clock, events, lines, deny, counts } = rig();
	for (let i = 0; i < 50; i++) deny(id("batch"), "rule", `/x${i}`);
	deny(id("web"));
	deny("", "default");
	assert.deepEqual([events.length, lines.length], [0, 0], "not before the second is over");
	clock.advance(1000);
	assert.deepEqual(
		events.map(({ data: { kind, rule: by, caller, count, path, policy: place, windowMs }, subject }) => [
			kind,
			by,
			caller,
			count,
			path,
			place,
			windowMs,
			subject,
		]),
		[
			["rule", "no", id("batch"), 50, "/x49", "test.yaml:11:9", 1000, id("batch")],
			["rule", "no", id("web"), 1, "/x", "test.yaml:11:9", 1000, id("web")],
			["default", "", "", 1, "/x", "test.yaml:9:3", 1000, "10.0.0.1"],
		],
	);
	assert.deepEqual(
		lines.map(({ level, fields }) => [level, fields.rule, fields.count, fields.callers]),
		[
			["warn", "no", 51, 2],
			["warn", "", 1, undefined],
		],
	);
	assert.deepEqual(counts(), { "no denied": 51, " denied": 1 });
	clock.advance(60_000);
	assert.equal(events.length, 3, "nothing more where nothing more happens");
});

test("a flood of callers is told one by one up to 32, and the rest as a number", () => {
	const { clock, events, lines, deny, counts } = rig();
	for (let i = 0; i < 1000; i++) deny(id(`c${i}`));
	clock.advance(1000);
	assert.equal(events.length, 33);
	const { data, subject } = events[32] ?? assert.fail();
	assert.deepEqual([data.kind, data.count, data.rule, data.caller, subject], ["others", 968, "", "", undefined]);
	assert.equal(lines.length, 2);
	assert.equal(counts()["no denied"], 1000);
});

test("a long path is cut, and never more than the last one is kept", () => {
	const { clock, events, deny } = rig();
	deny(id("a"), "rule", `/${"x".repeat(10_000)}`);
	clock.advance(1000);
	assert.equal(events[0]?.data.path.length, 256);
});

test("audits and dry runs are counted and logged, and are no event", () => {
	const { clock, events, lines, told, counts } = rig();
	const verdict = new Verdict();
	verdict.audited.push(rule({ name: "seen", action: "audit" }));
	verdict.wouldDeny.push(TRIAL ?? assert.fail());
	told.onVerdict(RULES, verdict, { caller: id("web"), address: "10.0.0.1" }, request("GET", "/a"));
	clock.advance(1000);
	assert.deepEqual(events, []);
	assert.deepEqual(
		lines.map(({ level, message, fields }) => [level, message, fields.rule, fields.count]),
		[
			["info", "requests that are audited", "seen", 1],
			["info", "requests that dry runs would refuse", "trial", 1],
		],
	);
	assert.deepEqual(counts(), { "seen audited": 1, "trial would_deny": 1 });
	assert.deepEqual(
		told.dryRuns().map(({ rule: by, total, callers }) => [by, total, callers[0]?.caller, callers[0]?.lastMs]),
		[["trial", 1, id("web"), 1_000_000]],
	);
});

test("what a dry run would allow is counted with the refusal", () => {
	const { told, counts } = rig();
	const verdict = new Verdict();
	verdict.allowed = false;
	verdict.wouldAllow = true;
	told.onVerdict(RULES, verdict, { caller: id("web"), address: "" }, request());
	assert.deepEqual(counts(), { " denied": 1, " would_allow": 1 });
});

test("counts of rules that there are no more are forgotten, the others go on through a reload", () => {
	const { told, deny, counts } = rig();
	deny(id("a"));
	deny(id("a"), "default");
	told.adopt(policy([{ name: "no", action: "deny" }]));
	assert.deepEqual(counts(), { "no denied": 1, " denied": 1 });
	told.adopt(undefined);
	assert.deepEqual(counts(), { " denied": 1 });
});

test("at the end the window that has begun is told, once", () => {
	const { clock, events, told, deny } = rig();
	told.stop();
	deny(id("a"));
	told.stop();
	told.stop();
	clock.advance(5_000);
	assert.equal(events.length, 1);
});
