/** A real redis-server for a test: no persistence, on a port of its own, stopped and started again as the test says. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import type { TestContext } from "node:test";
import { freePorts, temporaryFolder } from "../../support/processes.ts";

const hasRedis = spawnSync("redis-server", ["--version"]).status === 0;
export const skipWithoutRedis = !hasRedis && process.env.NEXUS_TEST_STRICT !== "1" ? "redis-server is not installed" : false;

export class RedisServer {
	readonly port: number;
	readonly #folder: string;
	readonly #options: readonly string[];
	#process: ChildProcess | undefined;

	private constructor(port: number, folder: string, options: readonly string[]) {
		this.port = port;
		this.#folder = folder;
		this.#options = options;
	}

	/** Ready for connections. `options`: as on its command line; `--port` is set unless they set one. */
	static async start(t: TestContext, options: readonly string[] = []): Promise<RedisServer> {
		const [port] = await freePorts(1);
		const server = new RedisServer(port ?? assert.fail(), temporaryFolder(t, "redis"), options);
		t.after(() => server.kill());
		await server.start();
		return server;
	}

	async start(): Promise<void> {
		const ports = this.#options.includes("--tls-port") ? ["--port", "0"] : ["--port", String(this.port)];
		const options = this.#options.map((option) => option.replace("PORT", String(this.port)));
		const child = spawn("redis-server", [...ports, "--bind", "127.0.0.1", "--dir", this.#folder, "--save", "", "--appendonly", "no", ...options], {
			stdio: ["ignore", "pipe", "inherit"],
		});
		this.#process = child;
		await new Promise<void>((resolve, reject) => {
			let said = "";
			child.stdout.on("data", (chunk: Buffer) => {
				said += chunk.toString();
				if (said.includes("Ready to accept connections")) resolve();
			});
			child.once("exit", () => reject(new Error(`redis-server has ended:\n${said}`)));
		});
	}

	/** As a crash would end it. Resolves when it has ended. */
	async kill(): Promise<void> {
		const child = this.#process;
		this.#process = undefined;
		if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
		const ended = new Promise((resolve) => child.once("exit", resolve));
		child.kill("SIGKILL");
		await ended;
	}

	/** It keeps its connections and says nothing any more. */
	hang(): void {
		this.#process?.kill("SIGSTOP");
	}

	goOn(): void {
		this.#process?.kill("SIGCONT");
	}
}
