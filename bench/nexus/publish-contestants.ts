/** Who takes part: Nexus, and the brokers that are installed, each with the durability that its name says. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findProgram } from "../machine.ts";
import { type Child, freePorts, type Workspace } from "../processes.ts";
import { waitUntil } from "../wait.ts";
import { overHttp, overWebSocket } from "./publish-http.ts";
import { createNatsStream, overNats, overRabbit, overRedis } from "./publish-senders.ts";
import type { OpenSender } from "./publish-turn.ts";

export interface Running {
	readonly child: Child;
	readonly pid: number;
	/** By way: HTTP and WebSocket, where there are two. */
	readonly open: { readonly request: OpenSender; readonly stream: OpenSender };
}

export interface Contestant {
	readonly name: string;
	/** What an acknowledgement means. */
	readonly acknowledged: string;
	/** Undefined where it is not installed. */
	readonly program: string | undefined;
	start(workspace: Workspace, core: number): Promise<Running>;
}

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const RABBIT = "/usr/lib/rabbitmq/bin/rabbitmq-server";

export const CONTESTANTS: readonly Contestant[] = [
	{ name: "nexus", acknowledged: "fdatasync", program: process.execPath, start: startNexus },
	redis("redis always", "always", "fsync"),
	redis("redis everysec", "everysec", "memory, fsync within a second"),
	nats("nats always", "sync_interval: always", "fsync"),
	nats("nats default", "", "page cache, fsync within two minutes"),
	{ name: "rabbitmq quorum", acknowledged: "fsync", program: installed(RABBIT), start: startRabbit },
];

async function startNexus(workspace: Workspace, core: number): Promise<Running> {
	const [port = 0] = await freePorts(1);
	const child = await workspace.start("nexus", core, {
		command: process.execPath,
		args: [MAIN, "serve", "--listen", `127.0.0.1:${port}`, "--data", workspace.file("nexus-data")],
	});
	await waitUntil(async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok, child);
	return { child, pid: child.pid, open: { request: overHttp(port), stream: overWebSocket(port) } };
}

function redis(name: string, fsync: string, acknowledged: string): Contestant {
	return {
		name,
		acknowledged,
		program: findProgram("redis-server"),
		async start(workspace, core) {
			const [port = 0] = await freePorts(1);
			const dir = directory(workspace, "redis");
			const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", fsync];
			const child = await workspace.start(name, core, { command: "redis-server", args: [...args, "--maxmemory-policy", "noeviction"] });
			await waitUntil(() => accepts(port), child);
			const open = overRedis(port);
			return { child, pid: child.pid, open: { request: open, stream: open } };
		},
	};
}

function nats(name: string, setting: string, acknowledged: string): Contestant {
	const program = process.env.NATS_SERVER ?? "nats-server";
	return {
		name,
		acknowledged,
		program: installed(program),
		async start(workspace, core) {
			const [port = 0] = await freePorts(1);
			const dir = directory(workspace, "nats");
			const config = join(dir, "nats.conf");
			writeFileSync(config, `listen: 127.0.0.1:${port}\njetstream {\n store_dir: "${dir}"\n max_file: 8GB\n ${setting}\n}\n`);
			const child = await workspace.start(name, core, { command: program, args: ["-c", config] });
			await waitUntil(() => accepts(port), child);
			await createNatsStream(port);
			const open = overNats(port);
			return { child, pid: child.pid, open: { request: open, stream: open } };
		},
	};
}

async function startRabbit(workspace: Workspace, core: number): Promise<Running> {
	const [port = 0, dist = 0, epmd = 0] = await freePorts(3);
	const dir = directory(workspace, "rabbitmq");
	const file = (name: string, text: string): string => {
		writeFileSync(join(dir, name), text);
		return join(dir, name);
	};
	const conf = `listeners.tcp.1 = 127.0.0.1:${port}\nloopback_users = none\nvm_memory_high_watermark.absolute = 2GB\ndisk_free_limit.absolute = 100MB\n`;
	const child = await workspace.start("rabbitmq", core, {
		command: RABBIT,
		args: [],
		env: {
			HOME: dir,
			RABBITMQ_NODENAME: "bench@localhost",
			RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
			RABBITMQ_NODE_PORT: String(port),
			RABBITMQ_DIST_PORT: String(dist),
			ERL_EPMD_PORT: String(epmd),
			ERL_EPMD_ADDRESS: "127.0.0.1",
			RABBITMQ_CONFIG_FILE: file("rabbitmq.conf", conf),
			RABBITMQ_ADVANCED_CONFIG_FILE: file("advanced.config", "[]."),
			RABBITMQ_CONF_ENV_FILE: "/dev/null",
			RABBITMQ_MNESIA_BASE: join(dir, "mnesia"),
			RABBITMQ_LOG_BASE: join(dir, "log"),
			RABBITMQ_ENABLED_PLUGINS_FILE: file("enabled_plugins", "[]."),
			RABBITMQ_PID_FILE: join(dir, "pid"),
			ERL_CRASH_DUMP: join(dir, "crash.dump"),
			RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
		},
	});
	await waitUntil(() => accepts(port), child);
	const open = overRabbit(port);
	return { child, pid: child.pid, open: { request: open, stream: open } };
}

/** A path, or a name on PATH. */
function installed(program: string): string | undefined {
	if (!program.includes("/")) return findProgram(program);
	return existsSync(program) ? program : undefined;
}

function directory(workspace: Workspace, name: string): string {
	const dir = workspace.file(name);
	mkdirSync(dir);
	return dir;
}

function accepts(port: number): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect(port, "127.0.0.1");
		socket.once("connect", () => {
			socket.destroy();
			resolve(true);
		});
		socket.once("error", () => resolve(false));
	});
}
