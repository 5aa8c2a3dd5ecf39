/** The events of a run: what they hold, and by what they are known again. */
import { hash } from "node:crypto";
import type { Rng } from "../../../src/core/rng.ts";
import type { Fate, Sent } from "./history.ts";

export const TYPE = "nemesis.happened";

/** As it is sent, and as it comes back. */
export interface WorkEvent {
	readonly specversion: "1.0";
	readonly id: string;
	readonly source: string;
	readonly type: string;
	readonly partitionkey: string;
	readonly fate: Fate;
	readonly data: { readonly key: string; readonly n: number; readonly text: string };
}

// Shares of all events. A slow one holds up its key for a whole ackWait.
const SHARES: readonly (readonly [Fate, number])[] = [
	["poison", 0.01],
	["sick", 0.01],
	["slow", 0.002],
	["flaky", 0.05],
];
const TEXT_CHARS_MAX = 400;

export function workEvent(key: string, n: number, rng: Rng): WorkEvent {
	const id = `${key}-${n}`;
	const fate = fateOf(rng());
	const text = id.repeat(Math.ceil(TEXT_CHARS_MAX / id.length)).slice(0, Math.floor(rng() * TEXT_CHARS_MAX));
	return { specversion: "1.0", id, source: `/nemesis/${key}`, type: TYPE, partitionkey: key, fate, data: { key, n, text } };
}

function fateOf(lot: number): Fate {
	let below = 0;
	for (const [fate, share] of SHARES) {
		below += share;
		if (lot < below) return fate;
	}
	return "good";
}

export function sentOf(event: WorkEvent): Sent {
	const { id, fate, data } = event;
	return { id, key: data.key, n: data.n, fate, digest: digestOf(event) };
}

/** Of all that its sender decided. Never throws: what arrives may be anything. */
export function digestOf({ id, source, type, partitionkey, fate, data }: Partial<WorkEvent>): string {
	return hash("sha256", JSON.stringify([id, source, type, partitionkey, fate, data?.key, data?.n, data?.text]), "base64url").slice(0, 16);
}

/** Whether it is refused whenever it comes. */
export function isRefused({ fate }: WorkEvent, isMended: boolean): boolean {
	return fate === "poison" || (fate === "sick" && !isMended);
}

/** Which of the two ways to refuse: once and for all, or again and again. */
export function isRefusedOutright({ data }: WorkEvent): boolean {
	return data.n % 2 === 1;
}
