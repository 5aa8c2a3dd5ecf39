/**
 * `nexus run`: a sidecar and its application as one unit.
 * Start: sidecar, its listeners, application. The sidecar holds inbound requests back while the application is not up.
 * Stop: the sidecar drains its inbound side, the application ends while its way out is still open, then the sidecar ends.
 */
import { connect } from "node:net";
import { type Clock, systemClock } from "../core/clock.ts";
import { assertNever, messageOf } from "../core/errors.ts";
import { formatFaults } from "../policy/load.ts";
import { loadPolicyFile } from "../policy/load-file.ts";
import type { Address, Snapshot } from "../policy/snapshot.ts";
import type { CliIo } from "./io.ts";
import { listenForStop, type StopSignals } from "./stop-signals.ts";
import { Child, type ChildEnd, describeEnd, exitCodeOf, nexusCommand } from "./supervise.ts";

// Far above the budget of 300 ms for a start; a machine that swaps may need it.
const LISTEN_TIMEOUT_MS = 10_000;
const LISTEN_POLL_MS = 20;
const DRAIN_POLL_MS = 50;
const ADMIN_TIMEOUT_MS = 2_000;
// The sidecar's own drain timeout ends it; this is for one that does not answer at all.
const AFTER_DRAIN_MS = 2_000;
const EXIT_INPUT = 1;
const EXIT_FAULT = 70;

export interface RunOptions {
	readonly configFile: string;
	/** Program and arguments of the application. */
	readonly command: readonly string[];
}

type TcpAddress = Address & { kind: "tcp" };

/** Resolves with the exit status of the application (128 + n for signal n); 1 for a bad policy, address or command, 70 where the sidecar failed. */
export async function runUnit({ configFile, command }: RunOptions, io: CliIo): Promise<number> {
	const { text, result } = await loadPolicyFile(configFile, process.env, 1);
	if (!result.ok) {
		io.stderr.write(`${formatFaults(result.faults, text, { color: false })}\n`);
		return EXIT_INPUT;
	}
	const unknown = listenersOf(result.snapshot).find(({ port }) => port === 0);
	if (unknown !== undefined) {
		io.stderr.write(
			`nexus: ${configFile} listens on a port that the system chooses (${unknown.host}:0); \`nexus run\` needs to know it: write a number.\n`,
		);
		return EXIT_INPUT;
	}
	// Looked at before, as afterwards whoever answers there could not be told from our own sidecar.
	for (const address of listenersOf(result.snapshot)) {
		if (!(await accepts(address))) continue;
		io.stderr.write(`nexus: ${urlHost(address.host)}:${address.port}, where ${configFile} wants to listen, is taken by another program.\n`);
		return EXIT_INPUT;
	}
	const signals = listenForStop(process, systemClock);
	return new Unit(configFile, result.snapshot, signals, io, systemClock).run(command);
}

class Unit {
	readonly #configFile: string;
	readonly #policy: Snapshot;
	readonly #signals: StopSignals;
	readonly #io: CliIo;
	readonly #clock: Clock;

	constructor(configFile: string, policy: Snapshot, signals: StopSignals, io: CliIo, clock: Clock) {
		this.#configFile = configFile;
		this.#policy = policy;
		this.#signals = signals;
		this.#io = io;
		this.#clock = clock;
	}

	async run(command: readonly string[]): Promise<number> {
		const sidecar = new Child({
			name: "sidecar",
			command: nexusCommand("sidecar", "--config", this.#configFile),
			env: process.env,
			watched: true,
			output: "inherit",
		});
		const killAtSecondSignal = (child: Child): void => void this.#signals.second.then(() => child.signal("SIGKILL"));
		killAtSecondSignal(sidecar);
		const started = await Promise.race([this.#listening(sidecar), this.#signals.first]);
		switch (started) {
			case "listening":
				break;
			case "SIGINT":
			case "SIGTERM":
			case "SIGHUP":
				await this.#end(sidecar);
				return exitCodeOf({ kind: "killed", signal: started });
			case "ended": {
				const end = await sidecar.ended;
				const code = this.#sidecarFailed(end);
				// Its own word that the input is wrong, such as an address that is taken; it has said which.
				return exitCodeOf(end) === EXIT_INPUT ? EXIT_INPUT : code;
			}
			case "timeout":
				this.#tell(`the sidecar has not opened its listeners within ${LISTEN_TIMEOUT_MS / 1000} s`);
				await this.#end(sidecar);
				return EXIT_FAULT;
			default:
				assertNever(started);
		}
		const application = new Child({
			name: "application",
			command,
			env: { ...process.env, ...environmentFor(this.#policy) },
			watched: false,
			output: "inherit",
		});
		killAtSecondSignal(application);
		return this.#together(sidecar, application);
	}

	async #together(sidecar: Child, application: Child): Promise<number> {
		const first = await Promise.race([
			sidecar.ended.then(() => "sidecar" as const),
			application.ended.then(() => "application" as const),
			this.#signals.first.then(() => "signal" as const),
		]);
		switch (first) {
			case "sidecar": {
				const code = this.#sidecarFailed(await sidecar.ended);
				await application.stop(this.#clock, this.#policy.drainTimeoutMs);
				return code;
			}
			case "signal":
				await this.#drain(sidecar, application);
				await application.stop(this.#clock, this.#policy.drainTimeoutMs);
				break;
			case "application":
				application.signal("SIGKILL"); // what it has left running
		}
		await this.#end(sidecar);
		const end = await application.ended;
		if (end.kind !== "not-started") return exitCodeOf(end);
		this.#tell(`the application ${describeEnd(end)}`);
		return EXIT_INPUT;
	}

	/** Resolves when every listener takes connections. */
	async #listening(sidecar: Child): Promise<"listening" | "ended" | "timeout"> {
		const untilMs = this.#clock.monotonicMs() + LISTEN_TIMEOUT_MS;
		for (const address of listenersOf(this.#policy)) {
			while (!(await accepts(address))) {
				if (sidecar.end !== undefined) return "ended";
				if (this.#clock.monotonicMs() > untilMs) return "timeout";
				await new Promise<void>((resolve) => this.#clock.setTimer(LISTEN_POLL_MS, resolve));
			}
		}
		return sidecar.end === undefined ? "listening" : "ended";
	}

	/** The sidecar refuses what is new from outside and lets what has begun finish; the way out stays open. */
	async #drain(sidecar: Child, application: Child): Promise<void> {
		let given = false;
		const gone = Promise.race([sidecar.ended, application.ended, this.#signals.second]).then(() => {
			given = true;
		});
		const untilMs = this.#clock.monotonicMs() + this.#policy.drainTimeoutMs;
		const admin = this.#policy.admin.listen;
		const drained = async (): Promise<void> => {
			await askAdmin(admin, "POST", "/drain");
			while (!given && this.#clock.monotonicMs() < untilMs && inboundActive(await askAdmin(admin, "GET", "/metrics")) > 0) {
				await new Promise<void>((resolve) => this.#clock.setTimer(DRAIN_POLL_MS, resolve));
			}
		};
		await Promise.race([drained().catch((error: unknown) => this.#tell(`the sidecar does not drain: ${messageOf(error)}`)), gone]);
	}

	async #end(sidecar: Child): Promise<void> {
		await sidecar.stop(this.#clock, this.#policy.drainTimeoutMs + AFTER_DRAIN_MS);
	}

	#sidecarFailed(end: ChildEnd): number {
		this.#tell(`the sidecar ${describeEnd(end)}; the application does not run without it`);
		return EXIT_FAULT;
	}

	#tell(message: string): void {
		this.#io.stderr.write(`nexus: ${message}\n`);
	}
}

/** What an application finds in its environment. HTTP_PROXY is left to the user: many libraries send everything there once it is set. */
function environmentFor({ service, outbound }: Snapshot): NodeJS.ProcessEnv {
	const env: NodeJS.ProcessEnv = { NEXUS_SERVICE: service };
	if (outbound !== undefined) env.NEXUS_OUTBOUND = `http://${urlHost(reachable(outbound.listen.host))}:${outbound.listen.port}`;
	return env;
}

function listenersOf({ admin, inbound, outbound, upstreams }: Snapshot): TcpAddress[] {
	const ofUpstreams = [...upstreams.values()].map(({ listen }) => listen);
	return [outbound?.listen, ...ofUpstreams, inbound?.listen, admin.listen].filter((address) => address !== undefined);
}

async function askAdmin({ host, port }: TcpAddress, method: string, path: string): Promise<string> {
	const response = await fetch(`http://${urlHost(reachable(host))}:${port}${path}`, { method, signal: AbortSignal.timeout(ADMIN_TIMEOUT_MS) });
	const text = await response.text();
	if (!response.ok) throw new Error(`${method} ${path} answers ${response.status}`);
	return text;
}

/** Requests from outside that have begun and not ended, from the text of /metrics. */
function inboundActive(metrics: string): number {
	let sum = 0;
	for (const [, active] of metrics.matchAll(/^nexus_requests_active\{[^}]*direction="inbound"[^}]*\} (\d+)/gm)) sum += Number(active);
	return sum;
}

function accepts({ host, port }: TcpAddress): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect({ host: reachable(host), port });
		socket.once("connect", () => {
			socket.destroy();
			resolve(true);
		});
		socket.once("error", () => resolve(false));
	});
}

/** Listening everywhere includes loopback. */
function reachable(host: string): string {
	if (host === "0.0.0.0") return "127.0.0.1";
	return host === "::" ? "::1" : host;
}

function urlHost(host: string): string {
	return host.includes(":") ? `[${host}]` : host;
}
