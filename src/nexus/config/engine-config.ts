/** Which log and which state Nexus stands on, as its configuration says it: schema, defaults, and what does not go together. Pure. */
import { z } from "zod";
import { type Refusal, refuse } from "../../policy/fault.ts";
import { locate, type Node, type Path, type Plain, type TreeFault } from "../../policy/tree.ts";
import { parseDuration } from "../../policy/values.ts";
import { BACKENDS, type Backend, DURABILITIES, type Durability } from "../log/capabilities.ts";
import type { RetentionLimits, TypeRetention } from "../log/event-log.ts";
import { RETENTION_AGE_MS, RETENTION_BYTES } from "../log/limits.ts";
import { parseSize, text, within } from "./config-values.ts";
import { checkDurability, checkRetention, checkTogether, type Tell } from "./engine-checks.ts";
import type { LogChoice, NatsPlace, StateChoice } from "./engine-choice.ts";
import { kafkaLoginKeys, kafkaLoginOf, natsLoginKeys, natsLoginOf, tlsOf, urlKeys, urlOf, urlText } from "./engine-login.ts";

export interface EngineConfig {
	readonly log: LogChoice;
	readonly state: StateChoice;
	readonly retention: RetentionLimits;
	/** The least that an acknowledgement must promise; undefined: what the log gives. */
	readonly durability: Durability | undefined;
}

// Fewer would remove what was acknowledged a moment ago; more need more descriptors than a process has.
const RETENTION_BYTES_MIN = 16 * 1024 * 1024;
const RETENTION_BYTES_LIMIT = 1024 ** 4;
const RETENTION_AGE_MIN_MS = 60_000;
/** Each type is looked up for every event that a compaction reads. */
const TYPES_MAX = 100;
const SERVERS_MAX = 32;
const REPLICAS_MAX = 5;
/** Streams, topics, queues, prefixes and schemas in the words that all of the brokers take. */
const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const SERVER = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):(\d{1,5})$/;

function parseServer(given: string): string | Refusal {
	const port = Number(SERVER.exec(given)?.[2]);
	return port >= 1 && port <= 65_535 ? given : refuse("is not an address", "write host:port");
}

function parseName(given: string): string | Refusal {
	return NAME.test(given) ? given : refuse("is not a name", "1 to 64 letters, digits, `_` and `-`");
}

const file = z.string().min(1).max(4096);
const name = text(parseName);
const servers = z.array(text(parseServer)).min(1).max(SERVERS_MAX);
const replicas = z.int().min(1).max(REPLICAS_MAX);
const count = z.int().positive().max(Number.MAX_SAFE_INTEGER);
const age = within(parseDuration, RETENTION_AGE_MIN_MS, Number.MAX_SAFE_INTEGER, "at least 1m");
const size = within(parseSize, RETENTION_BYTES_MIN, RETENTION_BYTES_LIMIT, "from 16MiB to 1TiB");

const nats = {
	servers,
	replicas: replicas.optional(),
	monitor: urlText(["http", "https"]).optional(),
	...natsLoginKeys,
};
const nothing = z.strictObject({});

/** Members of the configuration's own schema. `log: embedded` stands for `log: { embedded: {} }`; see normalised. */
export const engineKeys = {
	log: z
		.strictObject({
			embedded: nothing,
			memory: nothing,
			nats: z.strictObject({ ...nats, stream: name.optional() }),
			redis: z.strictObject({ ...urlKeys(["redis", "rediss"]), prefix: name.optional() }),
			kafka: z.strictObject({ brokers: servers, topic: name.optional(), replicas: replicas.optional(), ...kafkaLoginKeys }),
			rabbitmq: z.strictObject({ ...urlKeys(["amqp", "amqps"]), queue: name.optional() }),
		})
		.partial()
		.optional(),
	state: z
		.strictObject({
			sqlite: z.strictObject({ file: file.optional() }),
			memory: nothing,
			postgres: z.strictObject({
				...urlKeys(["postgres", "postgresql"]),
				schema: text((given) => (/^[a-z_][a-z0-9_]{0,39}$/.test(given) ? given : refuse("is not a name", "[a-z_][a-z0-9_]{0,39}"))).optional(),
			}),
			nats: z.strictObject({ ...nats, servers: servers.optional(), name: name.optional() }),
		})
		.partial()
		.optional(),
	durability: z.enum(DURABILITIES).optional(),
	retention: z
		.strictObject({
			maxBytes: size.optional(),
			maxAge: age.optional(),
			maxEvents: count.optional(),
			types: z
				.array(
					z.strictObject({
						type: z.string().min(1).max(1024),
						maxAge: age.optional(),
						maxEvents: count.optional(),
						lastPerKey: z.boolean().optional(),
					}),
				)
				.max(TYPES_MAX)
				.optional(),
		})
		.optional(),
};

export type GivenEngines = z.output<z.ZodObject<typeof engineKeys>>;

/** `log: embedded` as `log: { embedded: {} }`, and the same of the state. */
export function normalised(plain: Plain): Plain {
	if (typeof plain !== "object" || plain === null || Array.isArray(plain)) return plain;
	const object = plain as Readonly<Record<string, Plain>>;
	const short = Object.entries(object).filter(([key, value]) => (key === "log" || key === "state") && typeof value === "string");
	return { ...object, ...Object.fromEntries(short.map(([key, value]) => [key, { [String(value)]: {} }])) };
}

export const DEFAULT_ENGINES: EngineConfig = Object.freeze({
	log: Object.freeze({ backend: "embedded" }),
	state: Object.freeze({ engine: "sqlite" }),
	retention: Object.freeze({ bytesMax: RETENTION_BYTES, ageMsMax: RETENTION_AGE_MS }),
	durability: undefined,
});

/** What is configured, with its defaults; or faults, added to `faults`. `resolve` makes a path absolute. */
export function engineConfig(given: GivenEngines, root: Node, faults: TreeFault[], resolve: (path: string) => string): EngineConfig {
	const tell = (path: Path, message: string, hint: string): void => {
		const { node, keySpan } = locate(root, path);
		faults.push({ span: keySpan ?? node, path, message, hint });
	};
	const log = logChoice(given, tell, resolve);
	const state = stateChoice(given, log, tell, resolve);
	const retention = retentionOf(given, log.backend);
	checkRetention(given, log.backend, tell);
	checkDurability(given.durability, log, tell);
	checkTogether(log, state, tell);
	return { log, state, retention, durability: given.durability };
}

function logChoice({ log = {} }: GivenEngines, tell: Tell, resolve: (path: string) => string): LogChoice {
	if (Object.keys(log).length > 1) tell(["log"], "there is more than one log", "keep one");
	if (log.nats !== undefined) {
		const place = { servers: log.nats.servers, replicas: 1 };
		return { backend: "nats", stream: log.nats.stream ?? "nexus-events", ...natsPlace(["log", "nats"], log.nats, place, tell, resolve) };
	}
	if (log.redis !== undefined) {
		const path = ["log", "redis"];
		const { prefix = "nexus" } = log.redis;
		return { backend: "redis", url: urlOf(path, log.redis, tell, resolve), prefix, ...tlsOf(path, log.redis, tell, resolve) };
	}
	if (log.kafka !== undefined) {
		const path = ["log", "kafka"];
		const { brokers, topic = "nexus-events", replicas = 1 } = log.kafka;
		return { backend: "kafka", brokers, topic, replicas, ...kafkaLoginOf(path, log.kafka, tell, resolve), ...tlsOf(path, log.kafka, tell, resolve) };
	}
	if (log.rabbitmq !== undefined) {
		const path = ["log", "rabbitmq"];
		const { queue = "nexus-events" } = log.rabbitmq;
		return { backend: "rabbitmq", url: urlOf(path, log.rabbitmq, tell, resolve), queue, ...tlsOf(path, log.rabbitmq, tell, resolve) };
	}
	return { backend: log.memory === undefined ? "embedded" : "memory" };
}

function stateChoice({ state }: GivenEngines, log: LogChoice, tell: Tell, resolve: (path: string) => string): StateChoice {
	if (state === undefined) {
		if (log.backend === "memory") return { engine: "memory" };
		if (log.backend !== "nats") return { engine: "sqlite" };
		return { engine: "nats", name: "nexus-state", ...placeOf(log) };
	}
	if (Object.keys(state).length > 1) tell(["state"], "there is more than one state", "keep one");
	if (state.postgres !== undefined) {
		const path = ["state", "postgres"];
		const { schema = "nexus" } = state.postgres;
		return { engine: "postgres", url: urlOf(path, state.postgres, tell, resolve), schema, ...tlsOf(path, state.postgres, tell, resolve) };
	}
	if (state.nats !== undefined) {
		const { servers } = state.nats;
		if (servers === undefined && log.backend !== "nats")
			tell(["state", "nats"], "`servers` is missing", "only where the log is on NATS, its servers are those of the state");
		const place = servers === undefined && log.backend === "nats" ? placeOf(log) : { servers: servers ?? [], replicas: 1 };
		return { engine: "nats", name: state.nats.name ?? "nexus-state", ...natsPlace(["state", "nats"], state.nats, place, tell, resolve) };
	}
	if (state.memory !== undefined) return { engine: "memory" };
	return state.sqlite?.file === undefined ? { engine: "sqlite" } : { engine: "sqlite", file: resolve(state.sqlite.file) };
}

type GivenNats = Omit<NonNullable<NonNullable<GivenEngines["state"]>["nats"]>, "servers" | "name">;

/** Where the log is, for a state beside it. */
function placeOf({ servers, replicas, monitor, login, tls }: NatsPlace): NatsPlace {
	return { servers, replicas, ...(monitor && { monitor }), ...(login && { login }), ...(tls && { tls }) };
}

function natsPlace(path: Path, given: GivenNats, place: NatsPlace, tell: Tell, resolve: (path: string) => string): NatsPlace {
	const { replicas, monitor } = given;
	if (replicas !== undefined && replicas % 2 === 0)
		tell([...path, "replicas"], "an even number of copies survives no more than one copy less", "use 1, 3 or 5");
	return {
		...place,
		...(replicas === undefined ? {} : { replicas }),
		...(monitor === undefined ? {} : { monitor }),
		...natsLoginOf(path, given, tell, resolve),
		...tlsOf(path, given, tell, resolve),
	};
}

/** The defaults are those that the log can hold. */
function retentionOf({ retention = {} }: GivenEngines, backend: Backend): RetentionLimits {
	const { features } = BACKENDS[backend];
	const { maxBytes, maxAge, maxEvents, types } = retention;
	return {
		bytesMax: maxBytes ?? (features.retentionBySize.has ? RETENTION_BYTES : Number.POSITIVE_INFINITY),
		ageMsMax: maxAge ?? (features.retentionByAge.has ? RETENTION_AGE_MS : Number.POSITIVE_INFINITY),
		...(maxEvents === undefined ? {} : { eventsMax: maxEvents }),
		...(types === undefined || types.length === 0 ? {} : { types: types.map(typeRetention) }),
	};
}

function typeRetention(given: NonNullable<NonNullable<GivenEngines["retention"]>["types"]>[number]): TypeRetention {
	const { type, maxAge, maxEvents, lastPerKey } = given;
	return {
		type,
		...(maxAge === undefined ? {} : { ageMsMax: maxAge }),
		...(maxEvents === undefined ? {} : { eventsMax: maxEvents }),
		...(lastPerKey === undefined ? {} : { lastPerKey }),
	};
}
