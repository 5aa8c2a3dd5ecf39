/** Which fault comes when, all of it decided by a seed. Pure. */
import { type Rng, seededRng } from "../../../src/core/rng.ts";

export type Fault =
	/** `node`, here and below: of several, as a share of them. `all`: every one of them. */
	| { readonly kind: "nexus-killed"; readonly node: number; readonly all: boolean; readonly downMs: number }
	/** As an operator ends it, under load. */
	| { readonly kind: "nexus-ended"; readonly node: number; readonly downMs: number }
	/** As a pause of its machine. */
	| { readonly kind: "nexus-stopped"; readonly node: number; readonly forMs: number }
	/** Its wall clock is wrong by so much from here on. */
	| { readonly kind: "clock-jumped"; readonly node: number; readonly byMs: number }
	/** Killed, and what it was writing is there by half: see tear.ts. */
	| { readonly kind: "tail-torn"; readonly how: Tear; readonly seed: number }
	/** `kill`: in the middle of it; it starts again once there is room. */
	| { readonly kind: "disk-full"; readonly forMs: number; readonly kill: boolean }
	| { readonly kind: "consumer-killed"; readonly which: "hook" | "pull"; readonly downMs: number }
	| { readonly kind: "subscription-paused"; readonly which: "hook" | "pull"; readonly forMs: number }
	| { readonly kind: "broker-killed"; readonly downMs: number }
	| { readonly kind: "broker-stopped"; readonly forMs: number }
	/** It has no room, and what becomes of it then is its own affair; once there is room it is started again. */
	| { readonly kind: "broker-full"; readonly forMs: number }
	/** Of Nexus with its broker, or of its clients with it. The connections end at once, or stand still first. */
	| { readonly kind: "broker-cut" | "clients-cut"; readonly heldMs: number }
	/** Where the state does not stand in a file. */
	| { readonly kind: "state-killed"; readonly downMs: number };

export type FaultKind = Fault["kind"];

/** Whose faults come one after the other. Those of different victims come as they fall, also at once. */
const VICTIMS: readonly (readonly FaultKind[])[] = [
	["nexus-killed", "nexus-ended", "nexus-stopped", "clock-jumped", "tail-torn", "disk-full"],
	["broker-killed", "broker-stopped", "broker-full", "broker-cut", "state-killed"],
	["consumer-killed", "subscription-paused", "clients-cut"],
];

export const TEARS = ["garbage", "zeros", "half-block", "old-block", "index-cut"] as const;
export type Tear = (typeof TEARS)[number];

export interface Step {
	/** Before it, everything is well for so long. */
	readonly calmMs: number;
	readonly fault: Fault;
}

const CALM_MIN_MS = 300;
// For each victim on its own: now and then all are well together, and something gets done.
const CALM_MAX_MS = 4_000;
// Longer than what callers wait for an answer, than ackWait and than a lease.
const STOPPED_MS = 5_000;
const DOWN_MAX_MS = 1_000;
/** Share of faults that come with another one of the same victim. */
const TOGETHER = 0.3;
const CLOCK_OFF_MAX_MS = 3_600_000;
const HELD_MAX_MS = 3_000;
const FULL_MIN_MS = 1_000;
const FULL_MAX_MS = 2_500;

/** The kinds that there are, by victim: each is the material of a schedule of its own. */
export function lanesOf(kinds: readonly FaultKind[]): FaultKind[][] {
	return VICTIMS.map((ofVictim) => kinds.filter((kind) => ofVictim.includes(kind))).filter((lane) => lane.length > 0);
}

/** Without an end: rounds in which each kind comes once, in an order of their own. */
export function* scheduleOf(seed: number, kinds: readonly FaultKind[]): Generator<Step, never, void> {
	const rng = seededRng(seed);
	for (;;) {
		for (const kind of shuffled(kinds, rng)) yield { calmMs: between(CALM_MIN_MS, CALM_MAX_MS, rng), fault: faultOf(kind, rng) };
	}
}

function faultOf(kind: FaultKind, rng: Rng): Fault {
	switch (kind) {
		case "nexus-killed":
			return { kind, node: rng(), all: rng() < TOGETHER, downMs: between(0, DOWN_MAX_MS, rng) };
		case "broker-killed":
			return { kind, downMs: between(0, DOWN_MAX_MS, rng) };
		case "subscription-paused":
			return { kind, which: rng() < 0.5 ? "hook" : "pull", forMs: between(0, DOWN_MAX_MS, rng) };
		case "nexus-ended":
			return { kind, node: rng(), downMs: between(0, DOWN_MAX_MS, rng) };
		case "nexus-stopped":
			return { kind, node: rng(), forMs: STOPPED_MS };
		case "clock-jumped":
			return { kind, node: rng(), byMs: between(-CLOCK_OFF_MAX_MS, CLOCK_OFF_MAX_MS, rng) };
		case "broker-stopped":
			return { kind, forMs: STOPPED_MS };
		case "broker-full":
			return { kind, forMs: between(FULL_MIN_MS, FULL_MAX_MS, rng) };
		case "broker-cut":
		case "clients-cut":
			return { kind, heldMs: rng() < 0.5 ? 0 : between(0, HELD_MAX_MS, rng) };
		case "state-killed":
			return { kind, downMs: between(0, DOWN_MAX_MS, rng) };
		case "tail-torn":
			return { kind, how: TEARS[between(0, TEARS.length - 1, rng)] ?? "garbage", seed: between(0, 1_000_000, rng) };
		case "disk-full":
			return { kind, forMs: between(FULL_MIN_MS, FULL_MAX_MS, rng), kill: rng() < TOGETHER };
		case "consumer-killed":
			return { kind, which: rng() < 0.5 ? "hook" : "pull", downMs: between(0, DOWN_MAX_MS, rng) };
	}
}

function shuffled<T>(values: readonly T[], rng: Rng): T[] {
	const left = [...values];
	return values.flatMap(() => left.splice(Math.floor(rng() * left.length), 1));
}

/** Both inclusive. */
function between(min: number, max: number, rng: Rng): number {
	return min + Math.floor(rng() * (max - min + 1));
}
