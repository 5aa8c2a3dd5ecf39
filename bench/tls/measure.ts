/**
 * What mutual TLS costs: on a listener, over a whole hop of two proxies, and for each connection. In turns, round after round, as everywhere in
 * the bench. wrk shows no certificate, so HAProxy stands in front of each listener, on the other core: the same caller for all.
 */
import { fileURLToPath } from "node:url";
import { messageOf } from "../../src/core/errors.ts";
import { askAdmin } from "../admin.ts";
import { requestOnce } from "../client.ts";
import { type CpuTime, cpuTime } from "../cpu.ts";
import { bodyPath, ORIGIN_HOST } from "../origin.ts";
import type { Launch } from "../peers/peer.ts";
import { type Child, freePorts } from "../processes.ts";
import { median } from "../stats.ts";
import type { Bench } from "../turn.ts";
import { verifyReplies } from "../verify.ts";
import { waitUntil } from "../wait.ts";
import { CALLEE, type Certificates, makeCertificates } from "./certificates.ts";
import { type EndPlan, type Ends, findEnds, type TlsName } from "./ends.ts";
import type { HandshakeRequest, HandshakeResult } from "./handshake-client.ts";

export const TLS_SETUPS = ["listener", "hop", "full handshake", "resumed handshake"] as const;
export type TlsSetup = (typeof TLS_SETUPS)[number];

/** Enough that nobody waits for the network, few enough that nobody queues. */
const HANDSHAKE_CLIENTS = 16;

export interface TlsSample {
	/** Requests, or connections with one request each. */
	readonly perSecond: number;
	readonly userUs: number;
	readonly systemUs: number;
}

export interface TlsRow {
	readonly setup: TlsSetup;
	readonly name: TlsName;
	/** Medians over the rounds; CPU time for one request or one connection, of both proxies where there are two. */
	readonly perSecond: number;
	readonly userUs: number;
	readonly systemUs: number;
	/** Ours / this one in CPU, within a round; undefined for ours. */
	readonly ratio: { readonly median: number; readonly min: number; readonly max: number } | undefined;
	readonly faults: readonly string[];
}

interface Found {
	readonly samples: TlsSample[];
	readonly faults: string[];
}

export async function measureTls(bench: Bench): Promise<TlsRow[]> {
	const certificates = await makeCertificates(bench.workspace);
	const ends = findEnds();
	const front = ends.find(({ name }) => name === "haproxy");
	const found = new Map<string, Found>();
	for (let round = 1; round <= bench.options.rounds; round++) {
		for (const end of ends) {
			for (const setup of setupsOf(end, front)) {
				const key = `${setup} ${end.name}`;
				const so = found.get(key) ?? { samples: [], faults: [] };
				found.set(key, so);
				bench.progress.step(`TLS, round ${round}/${bench.options.rounds}: ${setup}, ${end.name}`);
				try {
					so.samples.push(await measureOne(bench, setup, end, front, certificates));
				} catch (thrown) {
					so.faults.push(`round ${round}: ${messageOf(thrown)}`);
				}
			}
		}
	}
	return TLS_SETUPS.flatMap((setup) =>
		ends.flatMap(({ name }) => {
			const own = found.get(`${setup} ${name}`);
			return own === undefined ? [] : [summarizeTls(setup, name, own, found.get(`${setup} ours`)?.samples ?? [])];
		}),
	);
}

function setupsOf({ name, caller }: Ends, front: Ends | undefined): TlsSetup[] {
	// Only between two of its kind does Envoy speak HTTP/2 here.
	if (name === "envoy, h2 between") return ["hop"];
	const one: TlsSetup[] = ["full handshake", "resumed handshake"];
	return [...(front === undefined ? [] : ["listener" as const]), ...(caller === undefined ? [] : ["hop" as const]), ...one];
}

async function measureOne(bench: Bench, setup: TlsSetup, ends: Ends, front: Ends | undefined, certificates: Certificates): Promise<TlsSample> {
	const children: Child[] = [];
	const { workspace, cores, origin } = bench;
	const start = async (name: string, core: number, nextPort: number, make: (plan: EndPlan) => Promise<Launch>): Promise<number> => {
		const [port, adminPort] = await freePorts(2);
		if (port === undefined || adminPort === undefined) throw new Error("no free ports");
		const launch = await make({ workspace, port, adminPort, nextPort, certificates });
		const child = await workspace.start(name, core, launch);
		children.push(child);
		const { readyPath } = launch;
		if (readyPath !== undefined) await waitUntil(async () => (await askAdmin(adminPort, "GET", readyPath)).status === 200, child);
		return port;
	};
	try {
		const calleePort = await start(`${ends.name} callee`, cores.proxy, origin.port, ends.callee);
		if (setup === "full handshake" || setup === "resumed handshake") {
			return await shake(bench, children, calleePort, certificates, setup === "resumed handshake");
		}
		const caller = setup === "hop" ? ends.caller : front?.caller;
		if (caller === undefined) throw new Error("nobody can call it");
		const port = await start(`${ends.name} caller`, setup === "hop" ? cores.proxy : cores.rest, calleePort, caller);
		const last = children.at(-1) as Child;
		await waitUntil(async () => (await requestOnce(port, { host: ORIGIN_HOST, path: bodyPath(bench.bodies[0] ?? 0) })).status === 200, last);
		await verifyReplies(port, bench.bodies);
		return await load(bench, setup === "hop" ? children : children.slice(0, 1), port);
	} finally {
		for (const child of children.reverse()) await workspace.stop(child);
	}
}

async function load({ generator, options }: Bench, measured: readonly Child[], port: number): Promise<TlsSample> {
	const request = { port, bodyBytes: options.bodies[0] ?? 0, connections: options.connections };
	const warm = await generator.run({ ...request, seconds: options.warmSeconds });
	const before = timeOf(measured);
	const result = await generator.run({ ...request, seconds: options.seconds });
	const faults = [...warm.faults, ...result.faults];
	if (faults.length > 0) throw new Error(faults.join("; "));
	return sampleOf(before, timeOf(measured), result.requests, result.perSecond);
}

async function shake(bench: Bench, measured: readonly Child[], port: number, { caller, ca }: Certificates, resume: boolean): Promise<TlsSample> {
	const { workspace, cores, options } = bench;
	const request: HandshakeRequest = {
		port,
		cert: caller.cert,
		key: caller.key,
		ca,
		serverName: CALLEE,
		path: bodyPath(options.bodies[0] ?? 0),
		host: ORIGIN_HOST,
		seconds: options.warmSeconds,
		clients: HANDSHAKE_CLIENTS,
		resume,
	};
	const run = async (seconds: number): Promise<HandshakeResult> => {
		const program = fileURLToPath(new URL("handshake-client.ts", import.meta.url));
		const command = { command: process.execPath, args: [program, JSON.stringify({ ...request, seconds })] };
		const result = JSON.parse(await workspace.run("handshakes", cores.rest, command)) as HandshakeResult;
		if (result.faults.length > 0) throw new Error(result.faults.join("; "));
		return result;
	};
	await waitUntil(async () => (await run(0.05)).done > 0, measured[0] as Child);
	await run(options.warmSeconds);
	const before = timeOf(measured);
	const { done, resumed, seconds } = await run(options.seconds);
	// Each client shakes hands in full once.
	if (resume && resumed < done - HANDSHAKE_CLIENTS) throw new Error(`${done - resumed} of ${done} connections were not resumed`);
	return sampleOf(before, timeOf(measured), done, done / seconds);
}

function timeOf(children: readonly Child[]): CpuTime {
	return children.map(({ pid }) => cpuTime(pid)).reduce((sum, one) => ({ userUs: sum.userUs + one.userUs, systemUs: sum.systemUs + one.systemUs }));
}

function sampleOf(before: CpuTime, after: CpuTime, count: number, perSecond: number): TlsSample {
	return { perSecond, userUs: (after.userUs - before.userUs) / count, systemUs: (after.systemUs - before.systemUs) / count };
}

/** Pure; a ratio is taken between samples of one round. */
export function summarizeTls(setup: TlsSetup, name: TlsName, { samples, faults }: Found, ours: readonly TlsSample[]): TlsRow {
	const ratios = samples.flatMap((sample, round) => {
		const own = ours[round];
		return own === undefined ? [] : [cpuUs(own) / cpuUs(sample)];
	});
	const over = (pick: (sample: TlsSample) => number): number => median(samples.map(pick));
	return {
		setup,
		name,
		perSecond: over(({ perSecond }) => perSecond),
		userUs: over(({ userUs }) => userUs),
		systemUs: over(({ systemUs }) => systemUs),
		ratio: name === "ours" || ratios.length === 0 ? undefined : { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
		faults,
	};
}

function cpuUs({ userUs, systemUs }: TlsSample): number {
	return userUs + systemUs;
}
