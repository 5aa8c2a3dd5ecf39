/** Our own program as a real process, its output as it comes, and the free ports that it is given. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../../bin/nexus", import.meta.url));
// Nothing is decided by it: it only turns a hang into a failure that shows what was said until then.
const PATIENCE_MS = 30_000;

export interface ProcessEnd {
	readonly code: number | null;
	readonly signal: NodeJS.Signals | null;
}

export class NexusProcess {
	readonly process: ChildProcess;
	readonly ended: Promise<ProcessEnd>;
	stdout = "";
	stderr = "";
	readonly #waiting = new Set<() => void>();

	/** Told to end at the end of the test, and again until it has: killed outright it could not end what it has started. */
	constructor(t: TestContext, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
		const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ["ignore", "pipe", "pipe"], ...options });
		this.process = child;
		child.stdout.on("data", (chunk: Buffer) => this.#take("stdout", chunk));
		child.stderr.on("data", (chunk: Buffer) => this.#take("stderr", chunk));
		this.ended = new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
		t.after(async () => {
			const exited = child.exitCode !== null || child.signalCode !== null;
			if (exited) return;
			const again = setInterval(() => child.kill("SIGTERM"), 100);
			child.kill("SIGTERM");
			await new Promise((resolve) => child.once("exit", resolve));
			clearInterval(again);
		});
	}

	/** Resolves with the match once the output holds it; rejects with all that was said where it ends without. */
	async said(pattern: RegExp, where: "stdout" | "stderr" = "stdout"): Promise<RegExpExecArray> {
		const found = (): RegExpExecArray | null => pattern.exec(this[where]);
		const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
		const look = (): void => {
			const match = found();
			if (match !== null) resolve(match);
		};
		const fail = (why: string): void =>
			reject(new assert.AssertionError({ message: `${pattern} was not said ${why}:\n${this.stdout}\n--\n${this.stderr}` }));
		this.#waiting.add(look);
		const timer = setTimeout(() => fail(`within ${PATIENCE_MS} ms`), PATIENCE_MS);
		void this.ended.then(() => fail("before the end"));
		look();
		try {
			return await promise;
		} finally {
			clearTimeout(timer);
			this.#waiting.delete(look);
		}
	}

	#take(where: "stdout" | "stderr", chunk: Buffer): void {
		this[where] += chunk.toString();
		for (const look of this.#waiting) look();
	}
}

export function temporaryFolder(t: TestContext, name: string): string {
	const folder = mkdtempSync(join(tmpdir(), `nexus-${name}-`));
	t.after(() => rmSync(folder, { recursive: true, force: true }));
	return folder;
}

// Below those that the system gives to callers and to listeners on port 0, which other tests take between our look and the program's start.
const PORT_MIN = 20_000;
const PORT_MAX = 32_767;

/** For programs that are told their ports before they start: free now, all different. */
export async function freePorts(count: number): Promise<number[]> {
	const servers: Server[] = [];
	while (servers.length < count) {
		const server = createServer();
		const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
		const isOurs = await new Promise<boolean>((resolve) => server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true)));
		if (isOurs) servers.push(server);
	}
	const ports = servers.map((server) => (server.address() as AddressInfo).port);
	await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
	return ports;
}

/** Whether somebody listens on that port of loopback. */
export function isTaken(port: number): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect({ host: "127.0.0.1", port });
		socket.once("connect", () => {
			socket.destroy();
			resolve(true);
		});
		socket.once("error", () => resolve(false));
	});
}

/** Resolves once `holds` does; rejects where it does not in any reasonable time. */
export async function eventually(what: string, holds: () => Promise<boolean>, patienceMs = PATIENCE_MS): Promise<void> {
	const untilMs = performance.now() + patienceMs;
	while (!(await holds())) {
		if (performance.now() > untilMs) assert.fail(`${what}: still not so after ${patienceMs} ms`);
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}
