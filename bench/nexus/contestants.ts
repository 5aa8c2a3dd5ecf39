/** Who takes part: Nexus, and the brokers that are installed, each with the durability that its name says. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram } from "../machine.ts";
import { type Child, freePorts, type Workspace } from "../processes.ts";
import { waitUntil } from "../wait.ts";
import { KAFKA_LIBS, startKafka } from "./kafka.ts";
import { launchNexus } from "./launch-nexus.ts";
import { overHttp, overWebSocket } from "./publish-http.ts";
import { createNatsStream, overNats, overRabbit, overRedis } from "./publish-senders.ts";
import type { OpenSender } from "./publish-turn.ts";
import { fromConsumerSocket, fromFollower, fromNats, fromRabbit, fromRedis, type OpenReceiver } from "./receivers.ts";
import { accepts, directory } from "./server-support.ts";
import { kafkaVersion, natsVersion, RABBITMQ_FOLDER, rabbitmqVersion, redisVersion } from "./versions.ts";

export interface Running {
	readonly child: Child;
	readonly pid: number;
	/** By way: HTTP and WebSocket, where there are two. */
	readonly open: { readonly request: OpenSender; readonly stream: OpenSender };
	/** By name: how events are consumed. */
	readonly receive: Readonly<Record<string, OpenReceiver>>;
}

export interface Contestant {
	readonly name: string;
	/** What an acknowledgement means. */
	readonly acknowledged: string;
	/** Undefined where it is not installed. */
	readonly program: string | undefined;
	readonly version: () => string;
	/** Names of its ways to consume. */
	readonly consumers: readonly string[];
	start(workspace: Workspace, core: number): Promise<Running>;
}

const RABBIT = `${RABBITMQ_FOLDER}/bin/rabbitmq-server`;

export const CONTESTANTS: readonly Contestant[] = [
	{
		name: "nexus",
		acknowledged: "fdatasync",
		program: process.execPath,
		version: () => `on Node ${process.version}`,
		consumers: ["server-sent events", "WebSocket with acks"],
		start: startNexus,
	},
	redis("redis always", "always", "fsync"),
	redis("redis everysec", "everysec", "memory, fsync within a second"),
	nats("nats always", "sync_interval: always", "fsync"),
	nats("nats default", "", "page cache, fsync within two minutes"),
	{
		name: "rabbitmq quorum",
		acknowledged: "fsync",
		program: installed(RABBIT),
		version: rabbitmqVersion,
		consumers: ["acks"],
		start: startRabbit,
	},
	{
		name: "kafka",
		acknowledged: "acks=all of one: page cache",
		program: KAFKA_LIBS === undefined ? undefined : findProgram("java"),
		version: kafkaVersion,
		consumers: ["group"],
		start: startKafka,
	},
];

async function startNexus(workspace: Workspace, core: number): Promise<Running> {
	const { child, port } = await launchNexus(workspace, core);
	return {
		child,
		pid: child.pid,
		open: { request: overHttp(port), stream: overWebSocket(port) },
		receive: { "server-sent events": fromFollower(port), "WebSocket with acks": fromConsumerSocket(port) },
	};
}

function redis(name: string, fsync: string, acknowledged: string): Contestant {
	return {
		name,
		acknowledged,
		program: findProgram("redis-server"),
		version: redisVersion,
		consumers: ["XREAD"],
		async start(workspace, core) {
			const [port = 0] = await freePorts(1);
			const dir = directory(workspace, "redis");
			const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", fsync];
			const child = await workspace.start(name, core, { command: "redis-server", args: [...args, "--maxmemory-policy", "noeviction"] });
			await waitUntil(() => accepts(port), child);
			const open = overRedis(port);
			return { child, pid: child.pid, open: { request: open, stream: open }, receive: { XREAD: fromRedis(port) } };
		},
	};
}

function nats(name: string, setting: string, acknowledged: string): Contestant {
	const program = process.env.NATS_SERVER ?? "nats-server";
	return {
		name,
		acknowledged,
		program: installed(program),
		version: () => natsVersion(program),
		consumers: ["push"],
		async start(workspace, core) {
			const [port = 0] = await freePorts(1);
			const dir = directory(workspace, "nats");
			const config = join(dir, "nats.conf");
			writeFileSync(config, `listen: 127.0.0.1:${port}\njetstream {\n store_dir: "${dir}"\n max_file: 8GB\n ${setting}\n}\n`);
			const child = await workspace.start(name, core, { command: program, args: ["-c", config] });
			await waitUntil(() => accepts(port), child);
			await createNatsStream(port);
			const open = overNats(port);
			return { child, pid: child.pid, open: { request: open, stream: open }, receive: { push: fromNats(port) } };
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
	// It would start one by itself, which would outlive it; this one ends with the workspace.
	const mapper = await workspace.start("epmd", core, { command: "epmd", args: ["-port", String(epmd), "-address", "127.0.0.1"] });
	await waitUntil(() => accepts(epmd), mapper);
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
	return { child, pid: child.pid, open: { request: open, stream: open }, receive: { acks: fromRabbit(port) } };
}

/** A path, or a name on PATH. */
function installed(program: string): string | undefined {
	if (!program.includes("/")) return findProgram(program);
	return existsSync(program) ? program : undefined;
}
