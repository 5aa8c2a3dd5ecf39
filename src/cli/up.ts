/**
 * `nexus up`: Nexus, services and a sidecar each, as real processes on loopback, until Ctrl-C.
 * Every process holds the other end of a channel to this one, so that nothing stays behind whatever happens to us.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "../core/clock.ts";
import { formatFaults } from "../policy/load.ts";
import { loadPolicyFile } from "../policy/load-file.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { CliIo } from "./io.ts";
import { listenForStop, type StopSignals } from "./stop-signals.ts";
import { Child, describeEnd, nexusCommand } from "./supervise.ts";
import { giveJoinTokens, prepareAuthority, trustDomainOf } from "./up-identity.ts";
import { type Mesh, type MeshService, readMesh } from "./up-mesh.ts";
import { startTraffic } from "./up-traffic.ts";
import { whatToTry } from "./up-try.ts";
import { encryptionText, eventLine, inMeshOrder, LiveScreen, liveLine, table } from "./up-view.ts";
import { MeshWatch } from "./up-watch.ts";

const SHOP = fileURLToPath(new URL("../../config/samples/shop/mesh.json", import.meta.url));
const PROGRAM = fileURLToPath(new URL("../../bin/nexus", import.meta.url));
const READY_TIMEOUT_MS = 20_000;
const READY_POLL_MS = 50;
const POLL_MS = 1_000;
// Where output is no terminal each line stays: fewer are enough.
const POLLS_PER_LINE = 5;
// The drain timeout of the samples is 5 s.
const STOP_GRACE_MS = 8_000;
const LOG_TAIL_LINES = 15;
const EXIT_INPUT = 1;
const EXIT_FAULT = 70;

export interface UpOptions {
	/** Default: the sample shop. */
	readonly meshFile?: string;
}

/** Resolves with 0 when it was asked to stop, 1 for a wrong file, 70 where a process did not start or ended by itself. */
export async function runUp({ meshFile = SHOP }: UpOptions, io: CliIo): Promise<number> {
	// Before there is anything to clear away.
	const signals = listenForStop(process, systemClock);
	// Made so that nobody else can look into it: logs, events, and the keys of the authority.
	const scratch = mkdtempSync(join(tmpdir(), "nexus-up-"));
	const clear = (): void => rmSync(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
	// Also where this ends at once, as when nobody reads what it says any more: there are keys in it.
	process.once("exit", clear);
	try {
		const prepared = await prepare(meshFile, scratch);
		if (typeof prepared === "string") {
			io.stderr.write(prepared);
			return EXIT_INPUT;
		}
		const running = new RunningMesh(prepared, scratch, signals, io);
		try {
			return await running.run();
		} finally {
			await running.stop();
		}
	} finally {
		process.off("exit", clear);
		clear();
	}
}

interface Prepared {
	readonly mesh: Mesh;
	/** By name of the mesh file. */
	readonly snapshots: ReadonlyMap<string, Snapshot>;
	/** Of the authority that the policies ask for; undefined where none does. */
	readonly trustDomain: string | undefined;
}

/** Or what is wrong, for people. */
async function prepare(meshFile: string, scratch: string): Promise<Prepared | string> {
	const read = await readMesh(meshFile, join(scratch, "tokens"));
	if (!read.ok) return `nexus: ${read.message}\n`;
	const snapshots = new Map<string, Snapshot>();
	let faults = "";
	for (const { name, policyFile, sidecarEnv } of read.mesh.services) {
		const { text, result } = await loadPolicyFile(policyFile, sidecarEnv, 1);
		if (result.ok) snapshots.set(name, result.snapshot);
		else if (!faults.includes(policyFile)) faults += `${formatFaults(result.faults, text)}\n`;
	}
	if (faults !== "") return faults;
	const found = trustDomainOf([...snapshots.values()]);
	return "fault" in found ? `nexus: ${found.fault}\n` : { mesh: read.mesh, snapshots, trustDomain: found.trustDomain };
}

class RunningMesh {
	readonly #prepared: Prepared;
	readonly #mesh: Mesh;
	readonly #scratch: string;
	readonly #signals: StopSignals;
	readonly #io: CliIo;
	readonly #screen: LiveScreen;
	readonly #children: Child[] = [];
	#nexus: Child | undefined;

	constructor(prepared: Prepared, scratch: string, signals: StopSignals, io: CliIo) {
		this.#prepared = prepared;
		this.#mesh = prepared.mesh;
		this.#scratch = scratch;
		this.#signals = signals;
		this.#io = io;
		this.#screen = new LiveScreen(io);
	}

	async run(): Promise<number> {
		const ended = await Promise.race([this.#start(), this.#signals.first.then(() => "signal" as const)]);
		if (ended === "signal") return 0;
		if (ended !== "ready") return this.#fail(ended);
		this.#introduce();
		return this.#follow();
	}

	/** Sidecars drain while their services still answer; Nexus goes last, so that it hears of it all. */
	async stop(): Promise<void> {
		this.#screen.end();
		if (this.#children.length > 0) this.#io.stdout.write("stopping ...\n");
		void this.#signals.second.then(() => {
			for (const child of this.#children) child.signal("SIGKILL");
		});
		const started = this.#children.filter(({ end }) => end?.kind !== "not-started");
		const nexus = started.filter((child) => child === this.#nexus);
		const sidecars = started.filter(({ name }) => name.endsWith(" sidecar"));
		const services = started.filter((child) => !nexus.includes(child) && !sidecars.includes(child));
		for (const group of [sidecars, services, nexus]) await Promise.all(group.map((child) => child.stop(systemClock, STOP_GRACE_MS)));
	}

	/** "ready", or the child that is the reason why not. */
	async #start(): Promise<"ready" | Child> {
		const { services, directory } = this.#mesh;
		// They wait for nobody, and load while the authority is made.
		for (const { name, command, env } of services) this.#child(name, command, env, directory);
		const nexus = await this.#startNexus();
		if (nexus !== "ready") return nexus;
		const sidecars: { readonly sidecar: Child; readonly admin: number }[] = [];
		for (const group of inOrder(services, this.#prepared.snapshots)) {
			const started = group.map(({ name, sidecarEnv, policyFile, ports }) => ({
				sidecar: this.#child(`${name} sidecar`, nexusCommand("sidecar", "--config", policyFile), sidecarEnv, directory),
				admin: ports.get("ADMIN_PORT") ?? 0,
			}));
			sidecars.push(...started);
			// One that answers has all loaded, and joins the mesh while the next ones load.
			const failed = await this.#failedOf(started, "/livez");
			if (failed !== undefined) return failed;
		}
		return (await this.#failedOf(sidecars, "/readyz")) ?? "ready";
	}

	async #startNexus(): Promise<"ready" | Child> {
		const { nexusPort, services } = this.#mesh;
		const { trustDomain, snapshots } = this.#prepared;
		const config = trustDomain === undefined ? [] : ["--config", await prepareAuthority(this.#scratch, trustDomain, systemClock)];
		const nexus = this.#child(
			"nexus",
			nexusCommand("serve", ...config, "--listen", `127.0.0.1:${nexusPort}`, "--data", join(this.#scratch, "events")),
			process.env,
		);
		this.#nexus = nexus;
		if (!(await this.#answers(nexus, nexusPort, "/readyz"))) return nexus;
		const joining = services.flatMap(({ name, joinTokenFile }) => {
			const snapshot = snapshots.get(name);
			return snapshot?.identity?.kind === "nexus" ? [{ service: snapshot.service, tokenFile: joinTokenFile }] : [];
		});
		await giveJoinTokens(nexusPort, joining);
		return "ready";
	}

	/** The first that has ended, or does not answer there. */
	async #failedOf(sidecars: readonly { readonly sidecar: Child; readonly admin: number }[], path: string): Promise<Child | undefined> {
		const answered = await Promise.all(sidecars.map(({ sidecar, admin }) => this.#answers(sidecar, admin, path)));
		return this.#children.find(({ end }) => end !== undefined) ?? sidecars[answered.indexOf(false)]?.sidecar;
	}

	#child(name: string, command: readonly string[], env: NodeJS.ProcessEnv, cwd?: string): Child {
		const log = openSync(this.#logOf(name), "a");
		const child = new Child({ name, command, env, watched: true, output: log, ...(cwd === undefined ? {} : { cwd }) });
		closeSync(log); // the child has its own
		this.#children.push(child);
		return child;
	}

	/** False where it ended or never answered there with 200. */
	async #answers(child: Child, port: number, path: string): Promise<boolean> {
		const untilMs = systemClock.monotonicMs() + READY_TIMEOUT_MS;
		while (child.end === undefined && systemClock.monotonicMs() < untilMs) {
			const response = await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(1_000) }).catch(() => undefined);
			await response?.body?.cancel();
			if (response?.status === 200) return true;
			await pause(READY_POLL_MS);
		}
		return false;
	}

	#introduce(): void {
		const { mesh, snapshots } = this.#prepared;
		const moved = mesh.moved.map(({ what, wanted, given }) => `  ${what}: ${wanted} is taken, using ${given}\n`).join("");
		const parts = [
			`A mesh of ${mesh.services.length} services, each with its own sidecar. Ctrl-C stops all of it.\n`,
			`${table(mesh)}${moved === "" ? "" : `\n${moved}`}`,
			encryptionText(mesh, snapshots),
			whatToTry(mesh, snapshots, { logs: this.#scratch, program: relative(process.cwd(), PROGRAM) }),
		];
		this.#screen.print(`\n${parts.join("\n")}\n`);
	}

	async #follow(): Promise<number> {
		const { traffic, nexusPort } = this.#mesh;
		const steady = startTraffic(traffic.url, traffic.requestsPerSecond, systemClock);
		const watch = new MeshWatch(`http://127.0.0.1:${nexusPort}`);
		// Nexus may go: the mesh does not need it to carry traffic, and showing that is part of the show.
		const gone = Promise.race(this.#children.filter((child) => child !== this.#nexus).map((child) => child.ended.then(() => child)));
		const stopped = Promise.race([gone, this.#signals.first.then(() => "signal" as const)]);
		const pollsPerLine = this.#io.stdout.isTTY ? 1 : POLLS_PER_LINE;
		let lastMs = systemClock.monotonicMs();
		try {
			for (let polls = 1; ; polls++) {
				const next = await Promise.race([stopped, pause(POLL_MS)]);
				if (next === "signal") return 0;
				if (next !== undefined) return this.#fail(next);
				const { happened, fault } = await watch.poll();
				for (const event of happened) this.#screen.print(eventLine(event));
				if (polls % pollsPerLine !== 0) continue;
				const nowMs = systemClock.monotonicMs();
				const seen = {
					traffic: inMeshOrder(this.#mesh, watch.takeTraffic()),
					seconds: (nowMs - lastMs) / 1000,
					events: watch.events,
					unanswered: steady.unanswered,
				};
				this.#screen.show(fault === undefined ? liveLine(seen) : `nexus does not answer (${fault}); the mesh goes on without it`);
				lastMs = nowMs;
			}
		} finally {
			steady.stop();
		}
	}

	#fail(child: Child): number {
		this.#screen.end();
		const how = child.end === undefined ? `is not ready after ${READY_TIMEOUT_MS / 1000} s` : describeEnd(child.end);
		const tail = readFileSync(this.#logOf(child.name), "utf8").trimEnd().split("\n").slice(-LOG_TAIL_LINES).join("\n  ");
		this.#io.stderr.write(`nexus: ${child.name} ${how}. The end of its log:\n  ${tail}\n`);
		return EXIT_FAULT;
	}

	#logOf(name: string): string {
		return join(this.#scratch, `${name.replaceAll(" ", "-")}.log`);
	}
}

/** All at once, but for those that check the health of others: these come after whom they call, so that a first check finds somebody. */
function inOrder(services: readonly MeshService[], snapshots: ReadonlyMap<string, Snapshot>): MeshService[][] {
	const checks = ({ name }: MeshService): boolean =>
		[...(snapshots.get(name)?.upstreams.values() ?? [])].some(({ healthCheck }) => healthCheck !== undefined);
	const others = services.filter((service) => !checks(service));
	return [others, ...groupsOf(services.filter(checks)).reverse()].filter((group) => group.length > 0);
}

/** Neighbours in the list with one policy are instances of one service. */
function groupsOf(services: readonly MeshService[]): MeshService[][] {
	const groups: MeshService[][] = [];
	for (const service of services) {
		const last = groups.at(-1);
		if (last?.[0]?.policyFile === service.policyFile) last.push(service);
		else groups.push([service]);
	}
	return groups;
}

/** A mesh that runs keeps the process alive; the pause alone does not. */
function pause(ms: number): Promise<undefined> {
	return new Promise((resolve) => systemClock.setTimer(ms, () => resolve(undefined)));
}
