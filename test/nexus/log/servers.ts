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
	/** Its configuration, as it is read with each start. */
	readonly file: string;
}

/** What a test adds to a Kafka. */
export interface KafkaDress {
	/** Beside the one in plain text, which only the broker itself uses then. `host`: by which it names itself there. */
	readonly listeners: readonly { readonly name: string; readonly protocol: string; readonly host: string; readonly port: number }[];
	readonly settings: Readonly<Record<string, string>>;
	/** Of the tool that formats its storage. */
	readonly format: readonly string[];
}

/** One node that is broker and controller. */
export async function startKafka(t: TestContext, dress?: KafkaDress): Promise<KafkaServer> {
	const folder = makeFolder("kafka");
	const [port, controller] = await freePorts(2);
	const file = join(folder, "server.properties");
	const { listeners = [] } = dress ?? {};
	const protocols = listeners.map(({ name, protocol }) => `,${name}:${protocol}`).join("");
	const bound = listeners.map(({ name, port }) => `,${name}://127.0.0.1:${port}`).join("");
	const advertised = listeners.map(({ name, host, port }) => `,${name}://${host}:${port}`).join("");
	const settings = {
		"process.roles": "broker,controller",
		"node.id": 1,
		"controller.quorum.voters": `1@127.0.0.1:${controller}`,
		listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}${bound}`,
		"advertised.listeners": `PLAINTEXT://127.0.0.1:${port}${advertised}`,
		"controller.listener.names": "CONTROLLER",
		"inter.broker.listener.name": "PLAINTEXT",
		"listener.security.protocol.map": `CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT${protocols}`,
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
		...dress?.settings,
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
	const formatted = spawnSync(program, [
		...options,
		"kafka.tools.StorageTool",
		"format",
		// In one word: one in 64 begins with a `-`.
		`--cluster-id=${randomBytes(16).toString("base64url")}`,
		"-c",
		file,
		...(dress?.format ?? []),
	]);
	assert.equal(formatted.status, 0, formatted.stderr?.toString());
	const server = await Server.start(t, {
		command: [...java, "kafka.Kafka", file],
		folder,
		isReady: () => isTaken(listeners[0]?.port ?? port ?? 0),
	});
	return { server, address: `127.0.0.1:${port}`, file };
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

/** `more`: lines of its configuration. */
export async function startRabbitmq(t: TestContext, more: readonly string[] = []): Promise<RabbitmqServer> {
	const [port = 0, distribution = 0, epmd = 0] = await freePorts(3);
	const folder = makeFolder("rabbitmq");
	const place = { folder, home: folder, port, distribution, epmd };
	return startRabbitmqNode(t, { ...place, name: "test", settings: more, afterEnd: () => epmdEnded(epmd) });
}

/** Members of one cluster, each with a copy of every stream and quorum queue. */
export async function startRabbitmqCluster(t: TestContext, count: number): Promise<RabbitmqServer[]> {
	const [epmd = 0, ...ports] = await freePorts(1 + 2 * count);
	const home = makeFolder("rabbitmq-cluster");
	// By this they know each other.
	writeFileSync(join(home, ".erlang.cookie"), randomBytes(16).toString("hex"), { mode: 0o400 });
	const names = Array.from({ length: count }, (_, i) => `member-${i}`);
	const settings = names.map((name, i) => `cluster_formation.classic_config.nodes.${i + 1} = ${name}@localhost`);
	const members: RabbitmqServer[] = [];
	for (const [i, name] of names.entries()) {
		const place = { folder: makeFolder(name), home, port: ports[2 * i] ?? 0, distribution: ports[2 * i + 1] ?? 0, epmd };
		members.push(
			await startRabbitmqNode(t, { ...place, name, settings: ["cluster_formation.peer_discovery_backend = classic_config", ...settings] }),
		);
	}
	t.after(async () => {
		await epmdEnded(epmd);
		rmSync(home, { recursive: true, force: true });
	});
	return members;
}

interface RabbitmqNode {
	readonly folder: string;
	readonly home: string;
	readonly name: string;
	readonly port: number;
	readonly distribution: number;
	readonly epmd: number;
	readonly settings?: readonly string[];
	afterEnd?(): Promise<void>;
}

async function startRabbitmqNode(t: TestContext, node: RabbitmqNode): Promise<RabbitmqServer> {
	const { folder, home, name, port, distribution, epmd, afterEnd } = node;
	const settings = [
		`listeners.tcp.1 = 127.0.0.1:${port}`,
		"loopback_users = none",
		"vm_memory_high_watermark.absolute = 512MB",
		"disk_free_limit.absolute = 100MB",
		...(node.settings ?? []),
	];
	writeFileSync(join(folder, "rabbitmq.conf"), settings.map((line) => `${line}\n`).join(""));
	for (const file of ["advanced.config", "enabled_plugins"]) writeFileSync(join(folder, file), "[].\n");
	const env = {
		HOME: home,
		RABBITMQ_NODENAME: `${name}@localhost`,
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
	const logFile = join(folder, "log", `${name}@localhost.log`);
	// The log goes on over a restart.
	const started = (): number => (existsSync(logFile) ? readFileSync(logFile, "utf8").split("Server startup complete").length - 1 : 0);
	let starts = 0;
	const isReady = async (): Promise<boolean> => {
		if (started() <= starts || !(await isTaken(port))) return false;
		starts = started();
		return true;
	};
	const server = await Server.start(t, { command: [RABBITMQ], env, folder, isReady, ...(afterEnd && { afterEnd }) });
	return { server, url: `amqp://guest:guest@127.0.0.1:${port}`, data: join(folder, "mnesia", `${name}@localhost`) };
}

/** The daemon of names that Erlang starts outlives its nodes, and does not go before it has noticed that they are gone. */
function epmdEnded(port: number): Promise<void> {
	return eventually("epmd has ended", async () => {
		spawnSync("epmd", ["-port", String(port), "-kill"]);
		return !(await isTaken(port));
	});
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
