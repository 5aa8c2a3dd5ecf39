/** A real PostgreSQL for tests: a cluster of its own, which crashes and comes back as the test says. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { freePorts } from "../../support/processes.ts";

const BIN = binaries();
export const skipWithoutPostgres = BIN === undefined && process.env.NEXUS_TEST_STRICT !== "1" ? "postgresql is not installed" : false;

export class PostgresServer {
	readonly url: string;
	readonly folder: string;
	readonly #port: number;
	/** It refuses to run as root. */
	readonly #user: { uid: number; gid: number } | undefined;
	#process: ChildProcess | undefined;

	private constructor(folder: string, port: number, user: { uid: number; gid: number } | undefined) {
		this.folder = folder;
		this.#port = port;
		this.#user = user;
		this.url = `postgres://postgres@127.0.0.1:${port}/postgres`;
	}

	/** `prepare`: with the folder of its files, before it runs for the first time. */
	static async start(prepare?: (server: PostgresServer) => void): Promise<PostgresServer> {
		const [port] = await freePorts(1);
		const folder = mkdtempSync(join(tmpdir(), "nexus-postgres-"));
		const user = process.getuid?.() === 0 ? { uid: idOf("-u"), gid: idOf("-g") } : undefined;
		if (user !== undefined) chownSync(folder, user.uid, user.gid);
		const server = new PostgresServer(folder, port ?? assert.fail(), user);
		const made = spawnSync(
			tool("initdb"),
			["-D", join(folder, "data"), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
			{
				...user,
				cwd: folder,
				encoding: "utf8",
			},
		);
		assert.equal(made.status, 0, made.stderr);
		prepare?.(server);
		await server.resume();
		return server;
	}

	get port(): number {
		return this.#port;
	}

	/** In the folder of its data; nobody else may read it. */
	write(name: string, text: string): void {
		const path = join(this.folder, "data", name);
		writeFileSync(path, text, { mode: 0o600 });
		if (this.#user !== undefined) chownSync(path, this.#user.uid, this.#user.gid);
	}

	/** Ready for connections. */
	async resume(): Promise<void> {
		const settings = [`listen_addresses=127.0.0.1`, `unix_socket_directories=${this.folder}`, "shared_buffers=32MB", "max_connections=50"];
		const child = spawn(
			tool("postgres"),
			["-D", join(this.folder, "data"), "-p", String(this.#port), ...settings.flatMap((setting) => ["-c", setting])],
			{ ...this.#user, cwd: this.folder, stdio: ["ignore", "ignore", "pipe"] },
		);
		this.#process = child;
		await new Promise<void>((resolve, reject) => {
			let said = "";
			child.stderr.on("data", (chunk: Buffer) => {
				said += chunk.toString();
				if (said.includes("database system is ready to accept connections")) resolve();
			});
			child.once("exit", () => reject(new Error(`postgres has ended:\n${said}`)));
		});
	}

	/** As a crash ends it: nothing is finished, and the next start recovers from its log. */
	crash(): Promise<void> {
		return this.#end("SIGQUIT");
	}

	async stop(): Promise<void> {
		await this.#end("SIGQUIT");
		rmSync(this.folder, { recursive: true, force: true });
	}

	async #end(signal: NodeJS.Signals): Promise<void> {
		const child = this.#process;
		this.#process = undefined;
		if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
		const ended = new Promise((resolve) => child.once("exit", resolve));
		child.kill(signal);
		await ended;
	}
}

function tool(name: string): string {
	return join(BIN ?? assert.fail("postgresql is not installed"), name);
}

/** Debian keeps its programs, of the newest version last, out of the path. */
function binaries(): string | undefined {
	const versions = readdirSync("/usr/lib", { withFileTypes: true }).some(({ name }) => name === "postgresql")
		? readdirSync("/usr/lib/postgresql")
		: [];
	const debian = versions.map((version) => `/usr/lib/postgresql/${version}/bin`).reverse();
	return [...debian, ...(process.env.PATH ?? "").split(delimiter)].find((folder) =>
		["initdb", "postgres"].every((name) => spawnSync(join(folder, name), ["--version"]).status === 0),
	);
}

function idOf(option: string): number {
	return Number(spawnSync("id", [option, "postgres"], { encoding: "utf8" }).stdout);
}
