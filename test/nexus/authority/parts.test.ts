/** The parts of the authority by themselves: what is kept, what is bounded, what is waited for. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { silentLogger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { createRequest } from "../../../src/identity/certificate-request.ts";
import { createJoinToken } from "../../../src/identity/join-token.ts";
import { CLOCK_SKEW_MS } from "../../../src/identity/path-rules.ts";
import { readPem } from "../../../src/identity/pem.ts";
import { FileTokens } from "../../../src/nexus/access/file-tokens.ts";
import { Tokens } from "../../../src/nexus/access/tokens.ts";
import { Authority } from "../../../src/nexus/authority/authority.ts";
import { withDenial } from "../../../src/nexus/authority/denials.ts";
import {
	DENIED_MAX,
	EMPTY_STATE,
	type IdentityState,
	nextVersion,
	parseIdentityState,
	type RotationState,
	TOKENS_MAX,
} from "../../../src/nexus/authority/identity-state.ts";
import { IssuingQueue } from "../../../src/nexus/authority/issuing-queue.ts";
import { hindrances } from "../../../src/nexus/authority/rotation-plan.ts";
import { StateFile } from "../../../src/nexus/authority/state-file.ts";
import { WorkloadFile } from "../../../src/nexus/authority/workload-file.ts";
import { type Leaf, Workloads } from "../../../src/nexus/authority/workloads.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { temporaryDir } from "../support.ts";
import { HOUR_MS, identityOf, makeAuthority } from "./support.ts";

const NOW = Date.UTC(2026, 0, 1);
const leaf = (serial: string, issuer = "old", notAfterMs = NOW + 60_000): Leaf => ({ serial, issuer, notAfterMs });

test("the state is kept by its owner alone, changes come one after the other, and what the disk refuses never happened", async (t) => {
	const path = join(temporaryDir(t), "identity.json");
	const state = await StateFile.open(path);
	const counted = await Promise.all(Array.from({ length: 20 }, () => state.change<never>((before) => ({ ...before, version: before.version + 1 }))));
	assert.ok(counted.every((fault) => fault === undefined));
	assert.equal(state.current.version, 20);
	assert.equal(statSync(path).mode & 0o777, 0o600);
	assert.deepEqual((await StateFile.open(path)).current, state.current);

	let isFull = true;
	const full = await StateFile.open(path, async () => {
		if (isFull) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
	});
	const fault = await full.change<never>((before) => ({ ...before, version: 99 }));
	assert.match(fault?.words ?? "", /cannot be written: no space left on device \(ENOSPC\)/);
	assert.equal(full.current.version, 20);
	isFull = false;
	assert.equal(await full.change<never>((before) => ({ ...before, version: 21 })), undefined);
	assert.equal(full.current.version, 21);
	// A change that finds nothing to change writes nothing.
	const before = readFileSync(path, "utf8");
	assert.equal(await state.change<never>((same) => same), undefined);
	assert.equal(readFileSync(path, "utf8"), before);
});

test("a use of a token that the disk cannot keep is free again, and no other one is spent with it", async (t) => {
	let isFull = false;
	const clock = new FakeClock();
	const state = await StateFile.open(join(temporaryDir(t), "identity.json"), async () => {
		if (isFull) throw Object.assign(new Error("full"), { code: "ENOSPC" });
	});
	const tokens = new Tokens(new FileTokens(state), clock);
	const made = await tokens.createJoin({ service: "payments", ttlMs: 60_000, uses: 1, root: "ab".repeat(32) });
	assert.ok("token" in made);
	const first = tokens.holdJoin(made.token);
	assert.ok(first.ok);
	assert.ok(!tokens.holdJoin(made.token).ok);
	isFull = true;
	assert.equal((await first.spend())?.fault, "not_kept");
	isFull = false;
	const second = tokens.holdJoin(made.token);
	assert.ok(second.ok);
	assert.equal(await second.spend(), undefined);
	second.giveBack();
	assert.ok(!tokens.holdJoin(made.token).ok);
	assert.ok(!tokens.holdJoin(createJoinToken({ service: "payments", root: "ab".repeat(32) })).ok);
});

test("so many tokens are kept and no more; those that are long over make room", async (t) => {
	const clock = new FakeClock();
	const state = await StateFile.open(join(temporaryDir(t), "identity.json"), async () => {});
	const stored = Array.from({ length: TOKENS_MAX }, (_, i) => ({
		kind: "join" as const,
		id: i.toString(16).padStart(16, "0"),
		hash: "ab".repeat(32),
		service: "payments",
		createdMs: clock.wallMs(),
		expiresMs: clock.wallMs() + 60_000,
		uses: 1,
		used: 0,
	}));
	await state.change<never>((before) => ({ ...before, tokens: stored }));
	const tokens = new Tokens(new FileTokens(state), clock);
	const refused = await tokens.createApi({ role: "read", name: "x" });
	assert.ok("fault" in refused && refused.fault === "too_many");
	clock.advance(8 * 24 * 3_600_000);
	assert.ok("text" in (await tokens.createApi({ role: "read", name: "x" })));
	assert.equal(tokens.page(undefined, 10).tokens.length, 1);
});

test("a state of another form is refused with the place, and nothing of it is quoted", () => {
	assert.deepEqual(parseIdentityState(JSON.stringify(EMPTY_STATE)), EMPTY_STATE);
	for (const [text, words] of [
		["", /is not JSON/],
		["{}", /at format/],
		[JSON.stringify({ ...EMPTY_STATE, format: 2 }), /at format/],
		[JSON.stringify({ ...EMPTY_STATE, tokens: [{ kind: "api", secret: "secret" }] }), /at tokens\.0/],
	] as const) {
		const parsed = parseIdentityState(text);
		assert.ok(typeof parsed === "string");
		assert.match(parsed, words);
		assert.doesNotMatch(parsed, /secret/);
	}
});

test("versions are seconds, and grow whatever the clock does", () => {
	assert.equal(nextVersion(0, NOW), NOW / 1000);
	assert.equal(nextVersion(NOW / 1000, NOW), NOW / 1000 + 1);
	assert.equal(nextVersion(NOW / 1000, NOW - 5_000_000), NOW / 1000 + 1);
});

test("a full deny list refuses; entries whose certificates have ended leave it", () => {
	const workloads = new Workloads();
	const view = { nowMs: NOW, untouchable: [], self: "spiffe://mesh.local/nexus", workloads };
	const full: IdentityState = {
		...EMPTY_STATE,
		deniedSerials: Array.from({ length: DENIED_MAX }, (_, i) => ({ serial: i.toString(16), untilMs: NOW + 1 })),
	};
	const refused = withDenial(full, { serial: "ffffffff" }, view);
	assert.ok("fault" in refused && refused.fault === "list_full");
	workloads.issued("spiffe://mesh.local/a", leaf("ab", "old", NOW + 5_000), undefined, "", NOW);
	const later = withDenial(full, { serial: "00:AB" }, { ...view, nowMs: NOW + 2 + 2 * CLOCK_SKEW_MS });
	assert.deepEqual("fault" in later ? [] : later.deniedSerials, [{ serial: "ab", untilMs: NOW + 5_000 }]);
});

test("a certificate stays denied for as long as a peer with a slow clock would take it", () => {
	const view = { untouchable: [], self: "spiffe://mesh.local/nexus", workloads: new Workloads() };
	const denied: IdentityState = { ...EMPTY_STATE, deniedSerials: [{ serial: "ab", untilMs: NOW }] };
	const serialsAt = (nowMs: number): string[] => {
		const next = withDenial(denied, { serial: "cd" }, { ...view, nowMs });
		return "fault" in next ? [] : next.deniedSerials.map(({ serial }) => serial);
	};
	// Its clock is a minute behind ours, and it allows for another one.
	assert.deepEqual(serialsAt(NOW + 2 * CLOCK_SKEW_MS), ["ab", "cd"]);
	assert.deepEqual(serialsAt(NOW + 2 * CLOCK_SKEW_MS + 1), ["cd"]);
});

test("what all rests on is not denied, in whatever spelling its serial number is given", () => {
	const view = { nowMs: NOW, untouchable: ["0a12"], self: "spiffe://mesh.local/nexus", workloads: new Workloads() };
	for (const serial of ["0a12", "a12", "00:0A:12"]) {
		const next = withDenial(EMPTY_STATE, { serial }, view);
		assert.equal("fault" in next && next.fault, "untouchable", serial);
	}
});

test("issuing leaves most of the loop to others, and a flood finds the queue full", async () => {
	const clock = new FakeClock();
	const queue = new IssuingQueue(clock, 2);
	const begun: number[] = [];
	const work = (n: number) => async () => {
		begun.push(n);
		clock.advance(10);
		return n;
	};
	const results = [1, 2, 3, 4].map((n) => queue.run(`service ${n}`, work(n)));
	assert.deepEqual(await Promise.all([results[0], results[3]]), [1, undefined]);
	assert.deepEqual(begun, [1]);
	clock.advance(29);
	assert.deepEqual(begun, [1]);
	clock.advance(1);
	assert.equal(await results[1], 2);
	queue.close();
	assert.equal(await results[2], undefined);
	assert.equal(await queue.run("service 5", work(5)), undefined);
	await assert.rejects(
		new IssuingQueue(clock).run("service 6", () => Promise.reject(new Error("ours"))),
		/ours/,
	);
});

test("one service that asks without end leaves room for the certificates of others", async () => {
	const queue = new IssuingQueue(new FakeClock(), 4);
	const never = () => new Promise<never>(() => {});
	void queue.run("flood", never);
	const flood = Array.from({ length: 4 }, () => queue.run("flood", never));
	assert.deepEqual(await Promise.all(flood.slice(2)), [undefined, undefined]);
	assert.equal(queue.waiting, 2);
	for (const service of ["payments", "orders"]) void queue.run(service, never);
	assert.equal(queue.waiting, 4);
	assert.equal(await queue.run("search", never), undefined);
	queue.close();
});

test("a renewal that waits for its turn is refused where its certificate is denied meanwhile", async (t) => {
	const clock = new FakeClock();
	const { dir, dataDir } = await makeAuthority(t, clock.wallMs());
	const state = await StateFile.open(join(dataDir, "identity.json"));
	const tokens = new Tokens(new FileTokens(state), clock);
	const options = { dir, dataDir, certificateTtlMs: HOUR_MS, dnsNames: [], addresses: [], state, tokens, clock };
	const authority = await Authority.open({ ...options, rng: seededRng(1), logger: silentLogger });
	t.after(() => authority.close());
	const made = await tokens.createJoin({ service: "payments", ttlMs: HOUR_MS, uses: 1, root: authority.rootFingerprint });
	assert.ok("token" in made);
	const { request } = createRequest(identityOf("payments"));
	const granted = await authority.issue(request, { kind: "token", token: made.token }, "10.0.0.1");
	assert.ok(granted.ok);
	const shown = readPem(granted.certificate, "CERTIFICATE", 8);
	const peer = authority.trust.verify(shown.ok ? shown.blocks : [], false);
	assert.ok(peer.ok);
	// Behind each certificate the loop is left to others, as long as this clock stands still.
	const renewal = authority.issue(request, { kind: "peer", peer }, "10.0.0.1");
	assert.equal(await authority.deny({ serial: peer.leaf.serial }), undefined);
	clock.advance(1_000);
	const outcome = await renewal;
	assert.deepEqual([outcome.ok, outcome.ok || outcome.fault], [false, "unauthorized"]);
});

test("a workload is known by whichever of its certificates it shows; a lost answer leaves it the old one", () => {
	const workloads = new Workloads();
	workloads.issued("a", leaf("1"), undefined, "10.0.0.1", NOW);
	workloads.issued("a", leaf("2", "new"), leaf("1"), "10.0.0.1", NOW);
	assert.equal(workloads.size, 1);
	assert.ok(workloads.callAgain("1"));
	assert.ok(!workloads.callAgain("1"));
	workloads.seen("a", leaf("1"), "10.0.0.1", NOW, 5);
	assert.equal([...workloads.all][0]?.leaf.serial, "1");
	workloads.issued("a", leaf("3", "new"), leaf("1"), "10.0.0.1", NOW);
	workloads.seen("a", leaf("3", "new"), "10.0.0.2", NOW + 1, 5);
	const [only] = [...workloads.all];
	assert.deepEqual([only?.leaf.serial, only?.given, only?.address, workloads.size], ["3", undefined, "10.0.0.2", 1]);
	assert.ok(!workloads.callAgain("3"));
	workloads.prune(NOW + 60_000);
	assert.equal(workloads.size, 0);
});

test("of too many workloads the one that was not seen for longest is forgotten", () => {
	const workloads = new Workloads(2);
	workloads.seen("a", leaf("1"), "", NOW);
	workloads.seen("b", leaf("2"), "", NOW + 1);
	workloads.seen("a", leaf("1"), "", NOW + 2);
	workloads.seen("c", leaf("3"), "", NOW + 3);
	assert.deepEqual(
		[...workloads.all].map(({ identity }) => identity),
		["a", "c"],
	);
});

test("a rotation waits for the bundle, then for certificates that are shown; not for what has ended or is denied", () => {
	const rotation: RotationState = { what: "root", step: "add", version: 7, startedMs: NOW, stepMs: NOW, next: "new" };
	const workloads = new Workloads();
	workloads.seen("has it", leaf("1"), "", NOW, 7);
	workloads.seen("older", leaf("2"), "", NOW, 6);
	workloads.seen("said nothing", leaf("3"), "", NOW);
	workloads.seen("ended", leaf("4", "old", NOW), "", NOW);
	workloads.seen("denied", leaf("5"), "", NOW);
	workloads.seen("renewed", leaf("6", "new"), "", NOW, 7);
	workloads.issued("given", leaf("8", "new"), leaf("7"), "", NOW);
	const waits = (step: RotationState["step"]) =>
		hindrances({ ...rotation, step }, { workloads: workloads.all, nowMs: NOW, isDenied: ({ identity }) => identity === "denied" }).map(
			({ workload }) => workload.identity,
		);
	assert.deepEqual(waits("add"), ["older", "said nothing", "given"]);
	assert.deepEqual(waits("issue"), ["has it", "older", "said nothing", "given"]);
	assert.deepEqual(waits("retire"), []);
});

test("workloads are kept over a restart, but for what they said; a list that is damaged is begun anew", async (t) => {
	const path = join(temporaryDir(t), "workloads.json");
	const clock = new FakeClock(NOW);
	const workloads = new Workloads();
	const file = new WorkloadFile(path, workloads, clock, silentLogger);
	await file.load();
	workloads.seen("a", leaf("1"), "10.0.0.1", NOW, 7);
	workloads.issued("a", leaf("2", "new"), leaf("1"), "10.0.0.1", NOW);
	workloads.seen("over", leaf("3", "old", NOW + 1), "", NOW);
	file.touch();
	await file.close();
	assert.equal(statSync(path).mode & 0o777, 0o600);
	clock.advance(1);
	const again = new Workloads();
	await new WorkloadFile(path, again, clock, silentLogger).load();
	assert.deepEqual(
		[...again.all].map(({ identity, leaf: { serial }, given, bundleVersion }) => [identity, serial, given?.serial, bundleVersion]),
		[["a", "1", "2", 0]],
	);
	const { writeFileSync } = await import("node:fs");
	writeFileSync(path, "[");
	const anew = new Workloads();
	await new WorkloadFile(path, anew, clock, silentLogger).load();
	assert.equal(anew.size, 0);
});
