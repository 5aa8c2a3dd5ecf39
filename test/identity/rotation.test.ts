/** When a certificate is renewed, on a clock that moves only when the test says so, and jumps. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Rng, seededRng } from "../../src/core/rng.ts";
import { type CertificateSpan, Rotation, type RotationWarning } from "../../src/identity/rotation.ts";
import { FakeClock } from "../support/fake-clock.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** 70 % of a day. */
const RENEWAL_MS = 16.8 * HOUR;
const MIDDLE: Rng = () => 0.5;

interface Bench {
	readonly clock: FakeClock;
	readonly rotation: Rotation;
	/** Since the start of the bench, in monotonic milliseconds. */
	readonly renewals: number[];
	readonly warnings: (RotationWarning & { readonly atMs: number })[];
	readonly ends: (RotationWarning & { readonly atMs: number })[];
	/** A certificate as Nexus issues it now: dated back by a minute. */
	issue(lifetimeMs: number): CertificateSpan;
}

function bench(lifetimeMs: number, { rng = MIDDLE, ageMs = 0 }: { rng?: Rng; ageMs?: number } = {}): Bench {
	const clock = new FakeClock();
	const renewals: number[] = [];
	const warnings: Bench["warnings"] = [];
	const ends: Bench["ends"] = [];
	const issue = (ms: number): CertificateSpan => ({ notBeforeMs: clock.wallMs() - MINUTE, notAfterMs: clock.wallMs() + ms });
	const span = issue(lifetimeMs);
	const aged = { notBeforeMs: span.notBeforeMs - ageMs, notAfterMs: span.notAfterMs - ageMs };
	const rotation = new Rotation(aged, {
		clock,
		rng,
		onRenew: () => void renewals.push(clock.monotonicMs()),
		onExpiring: (warning) => void warnings.push({ ...warning, atMs: clock.monotonicMs() }),
		onExpired: (warning) => void ends.push({ ...warning, atMs: clock.monotonicMs() }),
	});
	return { clock, rotation, renewals, warnings, ends, issue };
}

test("a certificate is renewed at 70 % of its life, once, and nobody is warned", () => {
	const { clock, rotation, renewals, warnings, issue } = bench(DAY);
	clock.advance(RENEWAL_MS - 1);
	assert.deepEqual(renewals, []);
	clock.advance(1);
	assert.deepEqual(renewals, [RENEWAL_MS]);
	assert.equal(rotation.phase, "renewing");
	rotation.renewed(issue(DAY));
	assert.equal(rotation.phase, "holding");
	clock.advance(RENEWAL_MS);
	assert.deepEqual(renewals, [RENEWAL_MS, 2 * RENEWAL_MS]);
	assert.deepEqual(warnings, []);
});

test("services that were started together renew over a tenth of the life, and never outside of it", () => {
	const rng = seededRng(3);
	const moments = Array.from({ length: 200 }, () => {
		const { clock, renewals } = bench(DAY, { rng });
		clock.advance(0.8 * DAY);
		return (renewals[0] ?? Number.NaN) / DAY;
	});
	assert.ok(Math.min(...moments) >= 0.65 && Math.max(...moments) <= 0.75, `${Math.min(...moments)} ${Math.max(...moments)}`);
	assert.ok(Math.max(...moments) - Math.min(...moments) > 0.08);
});

test("a certificate that lasts seconds is renewed by its own life, not by the minute that it is dated back", () => {
	const { clock, renewals } = bench(10_000);
	clock.advance(6_999);
	assert.deepEqual(renewals, []);
	clock.advance(1);
	assert.deepEqual(renewals, [7_000]);
});

test("one that comes from a file, and is old already, is renewed at 70 % of its whole life", () => {
	const { clock, renewals } = bench(DAY, { ageMs: 0.5 * DAY });
	clock.advance(0.2 * DAY - 1);
	assert.deepEqual(renewals, []);
	clock.advance(1);
	assert.equal(renewals.length, 1);
});

test("one that is due or over when it is found is renewed at once", () => {
	const due = bench(DAY, { ageMs: 0.9 * DAY });
	due.clock.advance(10);
	assert.equal(due.renewals.length, 1);
	assert.equal(due.warnings.length, 1);
	const over = bench(DAY, { ageMs: 2 * DAY });
	over.clock.advance(10);
	assert.equal(over.renewals.length, 1);
	assert.equal(over.ends.length, 1);
});

test("while renewal fails it is tried again after growing pauses, to the end and beyond it", () => {
	const { clock, rotation, renewals, warnings, ends } = bench(DAY);
	const tried = failAlways(clock, rotation, renewals, 1.1 * DAY, "the authority is away");
	const pauses = tried.slice(1).map((at, i) => at - (tried[i] ?? 0));
	// Half to all of a ceiling that doubles from one second to five minutes; the draw is in the middle.
	assert.deepEqual(pauses.slice(0, 4).map(Math.round), [750, 1_500, 3_000, 6_000]);
	assert.ok(
		pauses.every((pause) => pause <= 5 * MINUTE),
		`${Math.max(...pauses)}`,
	);
	assert.ok((tried.at(-1) ?? 0) > DAY, "it gave up at the end");
	assert.deepEqual(
		warnings.map(({ atMs }) => atMs / DAY),
		[0.8, 0.95],
	);
	assert.equal(warnings[0]?.lastError, "the authority is away");
	assert.ok((warnings[0]?.failures ?? 0) > 10);
	assert.equal(warnings[0]?.leftMs, Math.round(0.2 * DAY));
	assert.deepEqual(
		ends.map(({ atMs, leftMs }) => [atMs, leftMs]),
		[[DAY, 0]],
	);
});

test("a certificate of ten seconds is tried often enough before it ends", () => {
	const { clock, rotation, renewals, warnings, ends } = bench(10_000);
	const tried = failAlways(clock, rotation, renewals, 10_000, "no");
	assert.ok(tried.filter((at) => at < 10_000).length >= 6, `${tried}`);
	assert.equal(warnings.length, 2);
	assert.equal(ends.length, 1);
});

test("a renewal that comes through after failures ends the warnings and starts anew", () => {
	const { clock, rotation, renewals, warnings, ends, issue } = bench(DAY);
	failAlways(clock, rotation, renewals, 0.9 * DAY, "no");
	assert.equal(warnings.length, 1);
	rotation.renewed(issue(DAY));
	const before = renewals.length;
	clock.advance(0.69 * DAY);
	assert.equal(renewals.length, before);
	clock.advance(0.02 * DAY);
	assert.equal(renewals.length, before + 1);
	assert.equal(warnings.length, 1);
	assert.equal(ends.length, 0);
});

test("a renewal that is not answered is not begun again, but the end is told all the same", () => {
	const { clock, renewals, warnings, ends } = bench(DAY);
	clock.advance(2 * DAY);
	assert.equal(renewals.length, 1);
	assert.equal(warnings.length, 2);
	assert.equal(ends.length, 1);
	assert.equal(ends[0]?.lastError, "");
});

test("a source that gives the old certificate again has failed, and is not asked in a circle", () => {
	const { clock, rotation, renewals, issue } = bench(DAY);
	const old = issue(DAY);
	clock.advance(RENEWAL_MS);
	rotation.renewed(old);
	assert.equal(rotation.phase, "pausing");
	clock.advance(400);
	assert.equal(renewals.length, 1);
	clock.advance(1_000);
	assert.equal(renewals.length, 2);
});

test("a wall clock that jumps ahead is seen within half a minute", () => {
	const { clock, renewals, ends } = bench(DAY);
	clock.advance(HOUR);
	clock.jumpWall(0.8 * DAY);
	clock.advance(30_000);
	assert.equal(renewals.length, 1);
	assert.equal(ends.length, 0);
	clock.jumpWall(DAY);
	clock.advance(30_000);
	assert.equal(ends.length, 1);
});

test("a wall clock that is set back does not put off the renewal", () => {
	const { clock, renewals } = bench(DAY);
	clock.advance(HOUR);
	clock.jumpWall(-3 * DAY);
	clock.advance(RENEWAL_MS - HOUR);
	assert.equal(renewals.length, 1);
});

test("after a jump over both marks one warning is enough", () => {
	const { clock, warnings } = bench(DAY);
	clock.jumpWall(0.96 * DAY);
	clock.advance(MINUTE);
	assert.equal(warnings.length, 1);
});

test("after it was stopped nothing is called, and no timer is left", () => {
	const { clock, rotation, renewals } = bench(DAY);
	rotation.stop();
	rotation.stop();
	assert.equal(clock.pendingTimers, 0);
	clock.advance(2 * DAY);
	rotation.failed("late");
	assert.equal(clock.pendingTimers, 0);
	assert.deepEqual(renewals, []);
});

test("whoever answers at once, or stops from within, is understood", () => {
	const clock = new FakeClock();
	let renewals = 0;
	const span = { notBeforeMs: clock.wallMs() - MINUTE, notAfterMs: clock.wallMs() + 1_000 };
	const rotation: Rotation = new Rotation(span, {
		clock,
		rng: MIDDLE,
		onRenew: () => {
			if (++renewals === 3) rotation.stop();
			else rotation.renewed({ notBeforeMs: clock.wallMs() - MINUTE, notAfterMs: clock.wallMs() + 1_000 });
		},
		onExpiring: () => assert.fail("warned"),
		onExpired: () => assert.fail("over"),
	});
	clock.advance(10_000);
	assert.equal(renewals, 3);
	assert.equal(clock.pendingTimers, 0);
});

/** Answers every renewal with a failure until `untilMs`; when they were begun. */
function failAlways(clock: FakeClock, rotation: Rotation, renewals: readonly number[], untilMs: number, error: string): readonly number[] {
	let answered = renewals.length;
	while (clock.monotonicMs() < untilMs) {
		clock.advance(Math.min(50, untilMs - clock.monotonicMs()));
		if (renewals.length > answered) {
			answered = renewals.length;
			rotation.failed(error);
		}
	}
	return renewals;
}
