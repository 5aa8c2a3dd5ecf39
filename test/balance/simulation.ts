/**
 * One of ten endpoints turns slow, then fails fast, then recovers: what each balancer makes of it. Discrete events on a
 * clock of its own, seeded. `node test/balance/simulation.ts` writes the table into docs/balancing.md.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { buildPicker } from "../../src/balance/build-picker.ts";
import { PeakEwma } from "../../src/balance/peak-ewma.ts";
import { type Rng, seededRng } from "../../src/core/rng.ts";
import type { BalancingKind } from "../../src/policy/snapshot.ts";
import { endpointsOf, type TestEndpoint } from "./support.ts";

export const SIMULATED: readonly BalancingKind[] = ["round-robin", "least-connections", "peak-ewma"];

/** What the troubled endpoint does, in order; the other nine answer in 10 ms on average throughout. */
const PHASES = [
	{ name: "well", seconds: 20, serviceMs: 10, fails: false },
	{ name: "10 x slower", seconds: 30, serviceMs: 100, fails: false },
	{ name: "failing in 1 ms", seconds: 30, serviceMs: 1, fails: true },
	{ name: "well again", seconds: 120, serviceMs: 10, fails: false },
] as const;

export type PhaseName = (typeof PHASES)[number]["name"];

export interface Row {
	readonly kind: BalancingKind;
	readonly phase: PhaseName;
	/** 0..1 of the requests went to the troubled endpoint. */
	readonly share: number;
	/** 0..1 of all requests. */
	readonly failed: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
}

const ENDPOINTS = 10;
const REQUESTS_PER_SECOND = 1_000;
// So many at once by each; the rest waits in its queue. The slow one can bear its turn: 160 requests/s of 100.
const WORKERS = 16;
const PENALTY_MS = 5_000;
const SEED = 20;

interface Server {
	readonly endpoint: TestEndpoint;
	readonly latency: PeakEwma;
	readonly queue: Request[];
	busy: number;
}

interface Request {
	readonly server: Server;
	readonly sentMs: number;
}

interface Completion {
	readonly atMs: number;
	readonly request: Request;
	readonly failed: boolean;
}

/** A row for each phase. */
export function simulate(kind: BalancingKind): Row[] {
	const rng = seededRng(SEED);
	let nowMs = 0;
	const servers = endpointsOf(new Array(ENDPOINTS).fill(1)).map((plain): Server => {
		const latency = new PeakEwma(0);
		return { endpoint: { ...plain, latency }, latency, queue: [], busy: 0 };
	});
	const serverOf = new Map(servers.map((server) => [server.endpoint, server]));
	const endpoints = servers.map(({ endpoint }) => endpoint);
	const picker = buildPicker(kind, endpoints, seededRng(SEED + 1), undefined, { ringSizeMin: 1, tableSize: 2, now: () => nowMs });
	const due: Completion[] = [];
	let phase: (typeof PHASES)[number] = PHASES[0];

	const start = (request: Request): void => {
		const troubled = request.server === servers[0];
		request.server.busy++;
		const atMs = nowMs + exponential(rng, troubled ? phase.serviceMs : 10);
		insert(due, { atMs, request, failed: troubled && phase.fails });
	};

	let untilMs = 0;
	let arrivalMs = 0;
	return PHASES.map((current) => {
		phase = current;
		untilMs += current.seconds * 1_000;
		const latencies: number[] = [];
		let toTroubled = 0;
		let failures = 0;
		let requests = 0;
		while (arrivalMs < untilMs) {
			const completion = due[0];
			if (completion !== undefined && completion.atMs <= arrivalMs) {
				due.shift();
				nowMs = completion.atMs;
				const { server, sentMs } = completion.request;
				server.busy--;
				server.endpoint.activeRequests--;
				latencies.push(nowMs - sentMs);
				if (completion.failed) {
					failures++;
					server.latency.penalize(PENALTY_MS, nowMs);
				} else server.latency.observe(nowMs - sentMs, nowMs);
				const waiting = server.queue.shift();
				if (waiting !== undefined) start(waiting);
				continue;
			}
			nowMs = arrivalMs;
			arrivalMs += exponential(rng, 1_000 / REQUESTS_PER_SECOND);
			const picked = picker.pick();
			const server = picked && serverOf.get(picked);
			if (server === undefined) throw new Error("the picker gave nothing");
			requests++;
			if (server === servers[0]) toTroubled++;
			server.endpoint.activeRequests++;
			const request = { server, sentMs: nowMs };
			if (server.busy < WORKERS) start(request);
			else server.queue.push(request);
		}
		latencies.sort((a, b) => a - b);
		const quantile = (q: number) => latencies[Math.floor(q * latencies.length)] ?? 0;
		return { kind, phase: current.name, share: toTroubled / requests, failed: failures / requests, p50Ms: quantile(0.5), p99Ms: quantile(0.99) };
	});
}

export function table(rows: readonly Row[]): string {
	const lines = rows.map(
		({ kind, phase, share, failed, p50Ms, p99Ms }) =>
			`| ${phase} | \`${kind}\` | ${(share * 100).toFixed(1)} % | ${(failed * 100).toFixed(1)} % | ${p50Ms.toFixed(0)} ms | ${p99Ms.toFixed(0)} ms |`,
	);
	return ["| the one of ten is | balancing | its share | failed | p50 | p99 |", "|---|---|---|---|---|---|", ...lines].join("\n");
}

export function allRows(): Row[] {
	const rows = SIMULATED.flatMap(simulate);
	return PHASES.flatMap(({ name }) => rows.filter(({ phase }) => phase === name));
}

export const PAGE = new URL("../../docs/balancing.md", import.meta.url);

/** The page with the table between its marks; RangeError where they are missing. */
export function withTable(page: string, text: string): string {
	const [begin, end] = ["<!-- simulation -->", "<!-- /simulation -->"];
	const from = page.indexOf(begin);
	const to = page.indexOf(end);
	if (from === -1 || to < from) throw new RangeError(`the page has no ${begin} ... ${end}`);
	return `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`;
}

function exponential(rng: Rng, mean: number): number {
	return -Math.log(1 - rng()) * mean;
}

/** By time; few are under way at once. */
function insert(due: Completion[], completion: Completion): void {
	let at = due.length;
	while (at > 0 && (due[at - 1] as Completion).atMs > completion.atMs) at--;
	due.splice(at, 0, completion);
}

if (import.meta.main) writeFileSync(PAGE, withTable(readFileSync(PAGE, "utf8"), table(allRows())));
