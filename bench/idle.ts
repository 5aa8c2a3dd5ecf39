/** What an idle kept-alive connection costs in memory: thousands are opened, each has asked once, and then nothing happens. */
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { messageOf } from "../src/core/errors.ts";
import { Connection } from "./client.ts";
import { residentBytes } from "./cpu.ts";
import { bodyPath, ORIGIN_HOST } from "./origin.ts";
import type { PeerName } from "./peers/peer.ts";
import { type Bench, type Contestant, takeTurn } from "./turn.ts";

// As many at a time as the full load has: opening is not what is measured.
const OPENING_AT_ONCE = 64;
// So that code that every process needs is compiled and paged in before the first reading.
const WARM_REQUESTS_PER_CONNECTION = 30;
// Garbage of the opening may be collected, buffers given back; then the least of some readings counts.
const SETTLE_MS = 1000;
const READINGS = 5;
const READING_EVERY_MS = 200;
// Of all idle connections, this many are used again at the end: they must still be there.
const ASKED_AGAIN = 50;
// Descriptors that a process needs besides the connections.
const OTHER_DESCRIPTORS = 500;

export interface IdleRow {
	readonly name: PeerName;
	readonly connections: number;
	/** Resident right after the start, before any load. */
	readonly readyBytes: number;
	/** Resident with all connections idle. */
	readonly idleBytes: number;
	readonly perConnectionBytes: number;
	readonly faults: readonly string[];
}

/** The wanted number of connections, or what the limit of descriptors leaves (a proxy may need two for each). */
export function affordableConnections(wanted: number): number {
	const limit = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
	return limit === undefined ? wanted : Math.max(1, Math.min(wanted, Math.floor((Number(limit) - OTHER_DESCRIPTORS) / 2)));
}

export async function measureIdle(bench: Bench): Promise<IdleRow[]> {
	const { contestants, options, progress } = bench;
	const count = affordableConnections(options.idleConnections);
	if (count < options.idleConnections) progress.note(`idle: ${count} connections instead of ${options.idleConnections}, as \`ulimit -n\` allows`);
	const rows: IdleRow[] = [];
	for (const contestant of contestants) {
		if (contestant.prepare === undefined) continue;
		progress.step(`idle: ${contestant.name}, ${count} connections`);
		rows.push(await oneTurn(bench, contestant, count).catch((thrown: unknown) => notMeasured(contestant.name, count, thrown)));
	}
	return rows;
}

function oneTurn(bench: Bench, contestant: Contestant, count: number): Promise<IdleRow> {
	return takeTurn(bench, contestant, {}, async ({ port, child }) => {
		if (child === undefined) throw new Error("direct has no process");
		const readyBytes = residentBytes(child.pid);
		const path = bodyPath(bench.options.bodies[0] ?? 0);
		const warm: Connection[] = [];
		await openInto(warm, OPENING_AT_ONCE, port, path, WARM_REQUESTS_PER_CONNECTION).finally(() => closeAll(warm));
		const baseBytes = await settledBytes(child.pid);
		const open: Connection[] = [];
		try {
			await openInto(open, count, port, path, 1);
			const idleBytes = await settledBytes(child.pid);
			const faults = await askAgain(open, path);
			return { name: contestant.name, connections: count, readyBytes, idleBytes, perConnectionBytes: (idleBytes - baseBytes) / count, faults };
		} finally {
			closeAll(open);
		}
	});
}

function notMeasured(name: PeerName, connections: number, thrown: unknown): IdleRow {
	return { name, connections, readyBytes: Number.NaN, idleBytes: Number.NaN, perConnectionBytes: Number.NaN, faults: [messageOf(thrown)] };
}

function closeAll(connections: readonly Connection[]): void {
	for (const connection of connections) connection.close();
}

/** Fills `list` as it goes, so that the caller can close what was opened when one of them fails. */
async function openInto(list: Connection[], count: number, port: number, path: string, requests: number): Promise<void> {
	let started = 0;
	const openNext = async () => {
		while (started < count) {
			started++;
			const connection = await Connection.open(port);
			list.push(connection);
			for (let i = 0; i < requests; i++) await connection.request({ host: ORIGIN_HOST, path });
		}
	};
	await Promise.all(Array.from({ length: Math.min(OPENING_AT_ONCE, count) }, openNext));
}

async function settledBytes(pid: number): Promise<number> {
	await pause(SETTLE_MS);
	let least = Number.POSITIVE_INFINITY;
	for (let i = 0; i < READINGS; i++) {
		least = Math.min(least, residentBytes(pid));
		await pause(READING_EVERY_MS);
	}
	return least;
}

async function askAgain(open: readonly Connection[], path: string): Promise<string[]> {
	const faults: string[] = [];
	const step = Math.max(1, Math.floor(open.length / ASKED_AGAIN));
	for (let i = 0; i < open.length; i += step) {
		try {
			const reply = await open[i]?.request({ host: ORIGIN_HOST, path });
			if (reply?.status !== 200) faults.push(`idle connection ${i}: status ${reply?.status}`);
		} catch (thrown) {
			faults.push(`idle connection ${i}: ${messageOf(thrown)}`);
		}
	}
	return faults;
}
