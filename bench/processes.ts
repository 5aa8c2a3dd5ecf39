/** Starts what is measured, pinned to a core, and is certain to end it: each process in a group of its own, ended by its id. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { codeOf } from "../src/core/errors.ts";

// SIGTERM gets this long before SIGKILL; every contestant ends idle within a few milliseconds.
const STOP_GRACE_MS = 5000;
const LAST_LINES = 5;
const LINE_CHARACTERS_MAX = 240;

export interface Command {
	readonly command: string;
	readonly args: readonly string[];
	readonly env?: NodeJS.ProcessEnv;
	/** Where standard output goes; to a file of the workspace that nobody reads where undefined. */
	readonly stdout?: string;
}

export class Child {
	readonly name: string;
	readonly pid: number;
	readonly exited: Promise<void>;
	readonly #process: ChildProcess;
	readonly #stderr: string;

	constructor(name: string, child: ChildProcess, pid: number, stderr: string) {
		this.name = name;
		this.pid = pid;
		this.#process = child;
		this.#stderr = stderr;
		this.exited = new Promise((resolve) => child.once("exit", () => resolve()));
	}

	get running(): boolean {
		return this.#process.exitCode === null && this.#process.signalCode === null;
	}

	/** The last words on standard error, for a message about why it did not start. */
	lastWords(): string {
		const lines = readFileSync(this.#stderr, "utf8").split("\n");
		const telling = lines.filter((line) => line.trim() !== "" && !line.startsWith("    at ")).slice(-LAST_LINES);
		return telling.map((line) => line.slice(0, LINE_CHARACTERS_MAX)).join(" / ");
	}

	/** To the process and what it started: the id of the group is that of its first process. */
	signal(signal: NodeJS.Signals): void {
		try {
			process.kill(-this.pid, signal);
		} catch (thrown) {
			if (codeOf(thrown) !== "ESRCH") throw thrown;
		}
	}
}

/** Every process and every temporary file of one run. */
export class Workspace {
	readonly dir: string = mkdtempSync(join(tmpdir(), "nexus-bench-"));
	readonly #children = new Set<Child>();
	#files = 0;
	#closed = false;

	/** A path for a file that is removed with the workspace. */
	file(name: string): string {
		return join(this.dir, `${this.#files++}-${name}`);
	}

	/** Starts a command pinned to `core`. Rejects when it cannot be started. */
	async start(name: string, core: number, command: Command): Promise<Child> {
		// A measurement that is still under way when Ctrl-C comes must not start its next contestant.
		if (this.#closed) throw new Error("the workspace is closed");
		const stderr = this.file(`${name}.err`);
		const fds = [openSync(command.stdout ?? this.file(`${name}.out`), "a"), openSync(stderr, "a")] as const;
		const child = spawn("taskset", ["-c", String(core), command.command, ...command.args], {
			detached: true,
			stdio: ["ignore", ...fds],
			cwd: this.dir,
			env: { ...process.env, ...command.env },
		});
		for (const fd of fds) closeSync(fd);
		await new Promise<void>((resolve, reject) => child.once("spawn", resolve).once("error", reject));
		if (child.pid === undefined) throw new Error(`${name}: the system gave no process id`);
		const started = new Child(name, child, child.pid, stderr);
		this.#children.add(started);
		void started.exited.then(() => this.#children.delete(started));
		return started;
	}

	/** Runs a command to its end and returns what it printed. Rejects when it fails. */
	async run(name: string, core: number, command: Omit<Command, "stdout">): Promise<string> {
		const stdout = this.file(`${name}.out`);
		const child = await this.start(name, core, { ...command, stdout });
		await child.exited;
		const printed = readFileSync(stdout, "utf8");
		rmSync(stdout);
		if (printed === "") throw new Error(`${name} printed nothing: ${child.lastWords()}`);
		return printed;
	}

	async stop(child: Child): Promise<void> {
		const patience = setTimeout(() => child.signal("SIGKILL"), STOP_GRACE_MS);
		child.signal("SIGTERM");
		if (child.running) await child.exited;
		clearTimeout(patience);
		// What the first process left behind in its group.
		child.signal("SIGKILL");
	}

	get closed(): boolean {
		return this.#closed;
	}

	async close(): Promise<void> {
		this.#closed = true;
		await Promise.all([...this.#children].map((child) => this.stop(child)));
		rmSync(this.dir, { recursive: true, force: true });
	}

	/** The last resort of an exit handler, where nothing can be awaited. Idempotent. */
	closeNow(): void {
		for (const child of this.#children) child.signal("SIGKILL");
		rmSync(this.dir, { recursive: true, force: true });
	}
}

/** Ends everything on Ctrl-C, on SIGTERM and on a crash; resolves never, ends the process with the shell's status. */
export function closeOnSignals(workspace: Workspace): void {
	const end = (status: number) => {
		void workspace.close().finally(() => process.exit(status));
	};
	process.once("SIGINT", () => end(130));
	process.once("SIGTERM", () => end(143));
	process.once("exit", () => workspace.closeNow());
}

/** Ports that are free now; all are held at once, so that they differ. */
export async function freePorts(count: number): Promise<number[]> {
	const servers = await Promise.all(
		Array.from({ length: count }, async () => {
			const server = createServer();
			await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
			return server;
		}),
	);
	const ports = servers.map((server) => {
		const address = server.address();
		if (address === null || typeof address === "string") throw new Error("a TCP listener has no port");
		return address.port;
	});
	await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
	return ports;
}
