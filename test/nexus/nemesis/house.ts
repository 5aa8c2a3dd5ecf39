/** The processes of a run: each Nexus on its data, and workers that write their records. Each may be killed and started again; none may end by itself. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type NexusProcess, spawnNexus } from "../nexus-process.ts";
import type { Line } from "./history.ts";

const SAID_CHARS_MAX = 6_000;
/** Its exit code where its engines cannot be reached or its disk is full. */
const CANNOT_START = 1;
// Nothing is decided by it: it only turns what never starts into a failure that shows why.
const START_MS = 120_000;

/** Called with what has gone wrong: something ended that nobody has ended. */
export type Alarm = (what: string) => void;

export class NexusHost {
	readonly port: number;
	readonly url: string;
	readonly dataDir: string;
	/** The end of what it has said, in all its lives. */
	said = "";
	readonly #config: string;
	readonly #clock: string;
	readonly #alarm: Alarm;
	#node: NexusProcess | undefined;

	/** `engines`: the lines of its configuration that choose log and state. */
	constructor(dir: string, port: number, engines: string, alarm: Alarm) {
		this.port = port;
		this.url = `http://127.0.0.1:${port}`;
		this.dataDir = join(dir, "data");
		mkdirSync(this.dataDir, { recursive: true });
		this.#config = join(dir, "nexus.yaml");
		writeFileSync(this.#config, `listen: 127.0.0.1:${port}\ndata: ./data\n${engines}`);
		this.#clock = join(dir, "clock");
		writeFileSync(this.#clock, "0");
		this.#alarm = alarm;
	}

	/** As a supervisor does: again while it says that what it needs is not there. Rejects with what it said where it ends otherwise. */
	async start(): Promise<void> {
		const untilMs = performance.now() + START_MS;
		for (;;) {
			try {
				return await this.#start();
			} catch (thrown) {
				const isRefused = thrown instanceof Error && thrown.message.startsWith(`ended with ${CANNOT_START}:`);
				if (!isRefused || performance.now() > untilMs) throw thrown;
			}
		}
	}

	async #start(): Promise<void> {
		const preload = new URL("shifted-clock.ts", import.meta.url);
		preload.searchParams.set("file", this.#clock);
		const node = await spawnNexus(["--config", this.#config], ["--import", preload.href]);
		this.#node = node;
		const hear = (chunk: Buffer): void => {
			this.said = (this.said + chunk.toString()).slice(-SAID_CHARS_MAX);
		};
		node.child.stderr?.on("data", hear);
		node.child.stdout?.on("data", hear);
		node.child.once("exit", (code, signal) => {
			if (this.#node === node) this.#alarm(`Nexus has ended with ${signal ?? code}`);
		});
	}

	async kill(): Promise<void> {
		const node = this.#node;
		this.#node = undefined;
		await node?.stop("SIGKILL");
	}

	/** As an operator ends it. Anything but a good end is an alarm. */
	async stop(): Promise<void> {
		const node = this.#node;
		this.#node = undefined;
		const end = await node?.stop("SIGTERM");
		if (end?.code !== 0) this.#alarm(`Nexus was told to end, and has ended with ${end?.signal ?? end?.code}`);
	}

	signal(signal: "SIGSTOP" | "SIGCONT"): void {
		this.#node?.child.kill(signal);
	}

	/** Its wall clock is ahead of the real one by so much, in this life and the next ones. */
	shiftClock(byMs: number): void {
		writeFileSync(this.#clock, String(byMs));
		this.#node?.child.kill("SIGUSR2");
	}
}

export class Worker {
	readonly #script: string;
	#parameters: object;
	readonly name: string;
	readonly #file: string;
	readonly #alarm: Alarm;
	#child: ChildProcess | undefined;
	#mayEnd = false;
	#said = "";

	/** `script`: beside this file. Its record goes on in the next life. */
	constructor(name: string, script: string, parameters: object, dir: string, alarm: Alarm) {
		this.name = name;
		this.#script = fileURLToPath(new URL(script, import.meta.url));
		this.#parameters = parameters;
		this.#file = join(dir, `${name}.jsonl`);
		this.#alarm = alarm;
	}

	start(): void {
		const file = openSync(this.#file, "a");
		const child = spawn(process.execPath, [this.#script, JSON.stringify(this.#parameters)], { stdio: ["pipe", file, "pipe"] });
		closeSync(file);
		this.#child = child;
		this.#mayEnd = false;
		child.stderr?.on("data", (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-SAID_CHARS_MAX)));
		child.once("exit", (code, signal) => {
			if (!this.#mayEnd) this.#alarm(`${this.name} has ended with ${signal ?? code}: ${this.#said}`);
		});
	}

	async kill(): Promise<void> {
		const child = this.#child;
		if (child === undefined) return;
		this.#mayEnd = true;
		child.kill("SIGKILL");
		await ended(child);
	}

	/** Starts it anew, with other parameters. */
	async replace(changed: object): Promise<void> {
		await this.kill();
		this.#parameters = { ...this.#parameters, ...changed };
		this.start();
	}

	/** Asks it to finish; resolves once it has. An end that says otherwise is an alarm. */
	async finish(): Promise<void> {
		const child = this.#child;
		if (child === undefined) return;
		this.#mayEnd = true;
		child.stdin?.end();
		await ended(child);
		if (child.exitCode !== 0) this.#alarm(`${this.name} has finished with ${child.signalCode ?? child.exitCode}: ${this.#said}`);
	}

	/** What it has written so far. */
	record(): Line[] {
		if (!existsSync(this.#file)) return [];
		const lines = readFileSync(this.#file, "utf8").split("\n");
		// Whole, or not there yet.
		lines.pop();
		return lines.map((line) => JSON.parse(line) as Line);
	}
}

function ended(child: ChildProcess): Promise<unknown> {
	if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
	return new Promise((resolve) => child.once("exit", resolve));
}
