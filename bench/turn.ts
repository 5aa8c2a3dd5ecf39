/** One contestant's turn: start it on its core, wait until it answers rightly, let it be measured, end it. */
import { createReadStream, existsSync } from "node:fs";
import { askAdmin } from "./admin.ts";
import { requestOnce } from "./client.ts";
import type { Generator } from "./closed-load.ts";
import type { Cores } from "./machine.ts";
import type { Options } from "./options.ts";
import { bodyPath, ORIGIN_HOST, type Origin } from "./origin.ts";
import type { Found, Launch, PeerName, Plan } from "./peers/peer.ts";
import { type Child, freePorts, type Workspace } from "./processes.ts";
import type { Progress } from "./progress.ts";
import { verifyReplies } from "./verify.ts";
import { waitUntil } from "./wait.ts";

export interface Contestant extends Found {
	readonly name: PeerName;
}

/** What a turn needs. */
export interface Stage {
	readonly workspace: Workspace;
	readonly cores: Cores;
	readonly origin: Origin;
	/** Body sizes that the origin serves; each is checked before a contestant is measured. */
	readonly bodies: readonly number[];
}

/** What every part of the bench works with. */
export interface Bench extends Stage {
	readonly options: Options;
	readonly generator: Generator;
	readonly contestants: readonly Contestant[];
	readonly progress: Progress;
}

export interface Running {
	readonly port: number;
	readonly adminPort: number;
	/** Undefined for direct. */
	readonly child: Child | undefined;
	readonly accessLogFile: string | undefined;
	/** From the call that starts the process to its first sign of readiness; NaN for direct. */
	readonly startMs: number;
}

/** Rejects when the contestant does not start or does not answer with the right bytes. */
export async function takeTurn<T>(
	stage: Stage,
	contestant: Contestant,
	setup: { readonly accessLog?: boolean; readonly prepare?: (plan: Plan) => Promise<Launch> },
	measure: (running: Running) => Promise<T>,
): Promise<T> {
	const { workspace, origin, bodies } = stage;
	const prepare = setup.prepare ?? contestant.prepare;
	if (prepare === undefined) {
		return measure({ port: origin.port, adminPort: origin.port, child: undefined, accessLogFile: undefined, startMs: Number.NaN });
	}
	const [port, adminPort] = await freePorts(2);
	if (port === undefined || adminPort === undefined) throw new Error("no free ports");
	const launch = await prepare({ workspace, port, adminPort, originPort: origin.port, accessLog: setup.accessLog ?? false });
	const startedAt = performance.now();
	const child = await workspace.start(contestant.name, stage.cores.proxy, launch);
	try {
		const { readyPath } = launch;
		const firstReply = { host: ORIGIN_HOST, path: bodyPath(bodies[0] ?? 0) };
		const ready =
			readyPath === undefined
				? async () => (await requestOnce(port, firstReply)).status === 200
				: async () => (await askAdmin(adminPort, "GET", readyPath)).status === 200;
		await waitUntil(ready, child);
		const startMs = performance.now() - startedAt;
		await verifyReplies(port, bodies);
		return await measure({ port, adminPort, child, accessLogFile: launch.accessLogFile, startMs });
	} finally {
		await workspace.stop(child);
	}
}

/** Lines in a log that may be larger than memory; 0 where there is no file. */
export async function countLines(file: string): Promise<number> {
	if (!existsSync(file)) return 0;
	let lines = 0;
	for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
		const bytes = chunk as Buffer;
		for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) lines++;
	}
	return lines;
}
