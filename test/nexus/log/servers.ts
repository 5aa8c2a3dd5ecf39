/** Real brokers for tests: each on ports and in a folder of its own, killed and started again as the test says. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { eventually, freePorts, isTaken } from "../../support/processes.ts";

/** A reason to skip where the program cannot be run; with NEXUS_TEST_STRICT=1 the test fails instead. */
export function skipWithout(program: string, args: readonly string[] = ["--version"]): string | false {
	const isThere = spawnSync(program, args).error === undefined;
	return !isThere && process.env.NEXUS_TEST_STRICT !== "1" ? `${program} is not installed` : false;
}

// After a kill some read back all that they have, on a machine that has more to do.
const PATIENCE_MS = 120_000;

export interface ServerOptions {
	readonly command: readonly string[];
	readonly env?: NodeJS.ProcessEnv;
	/** Its own; removed once it has ended. */
	readonly folder: string;
	isReady(): Promise<boolean>;
	/** Ends what it has left behind. */
	afterEnd?(): Promise<void>;
}

/** A process that is a server once `isReady` says so; killed at the end of its test. */
export class Server {
	readonly #options: ServerOptions;
	#process: ChildProcess | undefined;
	#said = "";

	private constructor(options: ServerOptions) {
		this.#options = options;
	}

	static async start(t: TestContext, options: ServerOptions): Promise<Server> {
		const server = new Server(options);
		t.after(async () => {
			await server.kill();
			await options.afterEnd?.();
			rmSync(options.folder, { recursive: true, force: true });
		});
		await server.start();
		return server;
	}

	async start(): Promise<void> {
		const [program = "", ...args] = this.#options.command;
		// A group of its own: some start others, and all of them must go.
		const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], detached: true, env: { ...process.env, ...this.#options.env } });
		this.#process = child;
		for (const stream of [child.stdout, child.stderr])
			stream.on("data", (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-10_000)));
		const isReady = async (): Promise<boolean> => {
			if (child.exitCode !== null) assert.fail(`${program} has ended`);
			return this.#options.isReady();
		};
		try {
			await eventually(`${program} is ready`, isReady, PATIENCE_MS);
		} catch (thrown) {
			throw new Error(`${program} said at last:\n${this.#said}`, { cause: thrown });
		}
	}

	/** As a crash would end it. Resolves when it has ended. */
	async kill(): Promise<void> {
		const child = this.#process;
		this.#process = undefined;
		if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
		const ended = new Promise((resolve) => child.once("exit", resolve));
		process.kill(-child.pid, "SIGKILL");
		await ended;
	}

	/** It keeps its connections and says nothing any more. Resolves once each thread of each of its processes stands still. */
	async hang(): Promise<void> {
		const { pid } = this.#process ?? assert.fail();
		assert.ok(pid !== undefined);
		process.kill(-pid, "SIGSTOP");
		await eventually("it stands still", async () => threadsOfGroup(pid).every((stat) => stat.state === "T"));
	}

	goOn(): void {
		const pid = this.#process?.pid;
		if (pid !== undefined) process.kill(-pid, "SIGCONT");
	}
}

export interface NatsServer {
	readonly server: Server;
	readonly address: string;
	readonly monitor: string;
}

/** `jetstream`: further settings of that block. */
export async function startNats(t: TestContext, jetstream = ""): Promise<NatsServer> {
	const folder = makeFolder("nats");
	const [port, http] = await freePorts(2);
	const file = join(folder, "nats.conf");
	writeFileSync(
		file,
		`listen: 127.0.0.1:${port}\nhttp: 127.0.0.1:${http}\njetstream { store_dir: "${folder}/js", max_mem: 64MB, max_file: 2GB ${jetstream} }\n`,
	);
	const monitor = `http://127.0.0.1:${http}`;
	const isReady = (): Promise<boolean> =>
		fetch(`${monitor}/healthz?js-enabled-only=true`).then(
			(response) => response.ok,
			() => false,
		);
	return { server: await Server.start(t, { command: ["nats-server", "-c", file], folder, isReady }), address: `127.0.0.1:${port}`, monitor };
}

export interface RedisServer {
	readonly server: Server;
	readonly url: string;
}

/** With an append-only file. `options`: as on its command line. */
export async function startRedis(t: TestContext, options: readonly string[]): Promise<RedisServer> {
	const folder = makeFolder("redis");
	const [port] = await freePorts(1);
	const command = ["redis-server", "--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", ...options];
	const isReady = async (): Promise<boolean> => spawnSync("redis-cli", ["-p", String(port), "ping"]).stdout?.toString() === "PONG\n";
	return { server: await Server.start(t, { command, folder, isReady }), url: `redis://127.0.0.1:${port}` };
}

/** A folder with the jars of Kafka (kafka_2.13 and slf4j-simple with all that they need), as Maven's dependency:copy-dependencies makes it. */
const KAFKA_LIBS = process.env.NEXUS_TEST_KAFKA_LIBS;
/** Also with NEXUS_TEST_STRICT: no package of the system brings Kafka. */
export const skipWithoutKafka: string | false =
	KAFKA_LIBS === undefined ? "Kafka is not there: NEXUS_TEST_KAFKA_LIBS names no folder with its jars" : false;

export interface KafkaServer {
	readonly server: Server;
	readonly address: string;
}

/** One node that is broker and controller. */
export async function startKafka(t: TestContext): Promise<KafkaServer> {
	const folder = makeFolder("kafka");
	const [port, controller] = await freePorts(2);
	const file = join(folder, "server.properties");
	const settings = {
		"process.roles": "broker,controller",
		"node.id": 1,
		"controller.quorum.voters": `1@127.0.0.1:${controller}`,
		listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
		"advertised.listeners": `PLAINTEXT://127.0.0.1:${port}`,
		"controller.listener.names": "CONTROLLER",
		"inter.broker.listener.name": "PLAINTEXT",
		"listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"log.dirs": `${folder}/data`,
		"offsets.topic.num.partitions": 1,
		"offsets.topic.replication.factor": 1,
		"transaction.state.log.num.partitions": 1,
		"transaction.state.log.replication.factor": 1,
		"transaction.state.log.min.isr": 1,
		"share.coordinator.state.topic.num.partitions": 1,
		"share.coordinator.state.topic.replication.factor": 1,
		"share.coordinator.state.topic.min.isr": 1,
		"auto.create.topics.enable": false,
	};
	writeFileSync(
		file,
		Object.entries(settings)
			.map(([name, value]) => `${name}=${value}\n`)
			.join(""),
	);
	const java = [
		"java",
		"-Xmx256m",
		"-XX:+UseSerialGC",
		"-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp",
		`${KAFKA_LIBS}/*`,
	];
	const [program = "", ...options] = java;
	const formatted = spawnSync(program, [...options, "kafka.tools.StorageTool", "format", "-t", randomBytes(16).toString("base64url"), "-c", file]);
	assert.equal(formatted.status, 0, formatted.stderr?.toString());
	const server = await Server.start(t, { command: [...java, "kafka.Kafka", file], folder, isReady: () => isTaken(port ?? 0) });
	return { server, address: `127.0.0.1:${port}` };
}

// As Debian's package lays it out; the program in the path would change to another user first.
const RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server";
export const skipWithoutRabbitmq: string | false =
	existsSync(RABBITMQ) || process.env.NEXUS_TEST_STRICT === "1" ? false : "rabbitmq-server is not installed";

export interface RabbitmqServer {
	readonly server: Server;
	readonly url: string;
	/** With a folder `stream/` that has one for each stream. */
	readonly data: string;
}

export async function startRabbitmq(t: TestContext): Promise<RabbitmqServer> {
	const folder = makeFolder("rabbitmq");
	const [port, distribution, epmd] = await freePorts(3);
	const settings = [
		`listeners.tcp.1 = 127.0.0.1:${port}`,
		"loopback_users = none",
		"vm_memory_high_watermark.absolute = 512MB",
		"disk_free_limit.absolute = 100MB",
	];
	writeFileSync(join(folder, "rabbitmq.conf"), settings.map((line) => `${line}\n`).join(""));
	for (const name of ["advanced.config", "enabled_plugins"]) writeFileSync(join(folder, name), "[].\n");
	const env = {
		HOME: folder,
		RABBITMQ_NODENAME: "test@localhost",
		RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
		RABBITMQ_NODE_PORT: String(port),
		RABBITMQ_DIST_PORT: String(distribution),
		ERL_EPMD_PORT: String(epmd),
		ERL_EPMD_ADDRESS: "127.0.0.1",
		RABBITMQ_CONFIG_FILE: join(folder, "rabbitmq.conf"),
		RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, "advanced.config"),
		RABBITMQ_CONF_ENV_FILE: "/dev/null",
		RABBITMQ_MNESIA_BASE: join(folder, "mnesia"),
		RABBITMQ_LOG_BASE: join(folder, "log"),
		RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, "enabled_plugins"),
		RABBITMQ_PID_FILE: join(folder, "pid"),
		ERL_CRASH_DUMP: join(folder, "crash"),
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
	};
	// The daemon of names that Erlang starts outlives its node, and does not go before it has noticed that the node is gone.
	const endDaemon = async (): Promise<boolean> => {
		spawnSync("epmd", ["-port", String(epmd), "-kill"]);
		return !(await isTaken(epmd ?? 0));
	};
	const afterEnd = (): Promise<void> => eventually("epmd has ended", endDaemon);
	const logFile = join(folder, "log", "test@localhost.log");
	// The log goes on over a restart.
	const started = (): number => (existsSync(logFile) ? readFileSync(logFile, "utf8").split("Server startup complete").length - 1 : 0);
	let starts = 0;
	const isReady = async (): Promise<boolean> => {
		if (started() <= starts || !(await isTaken(port ?? 0))) return false;
		starts = started();
		return true;
	};
	const server = await Server.start(t, { command: [RABBITMQ], env, folder, isReady, afterEnd });
	return { server, url: `amqp://guest:guest@127.0.0.1:${port}`, data: join(folder, "mnesia", "test@localhost") };
}

/** Of all processes of that group, as Linux shows them; one that has just ended is none. */
function threadsOfGroup(group: number): { readonly state: string }[] {
	return readdirSync("/proc")
		.filter((name) => /^\d+$/.test(name))
		.flatMap((pid) => {
			try {
				return readdirSync(`/proc/${pid}/task`).map((task) => readFileSync(`/proc/${pid}/task/${task}/stat`, "utf8"));
			} catch {
				return [];
			}
		})
		.flatMap((stat) => {
			// Behind the name in parentheses: state, parent, group.
			const [state = "", , of] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
			return Number(of) === group && state !== "Z" ? [{ state }] : [];
		});
}

function makeFolder(name: string): string {
	return mkdtempSync(join(tmpdir(), `nexus-${name}-`));
}
