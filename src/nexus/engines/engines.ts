/** Opens what Nexus stands on: its log and its state, as configured, and only where the two belong together. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { codeOf } from "../../core/errors.ts";
import { IdSource } from "../../core/ids.ts";
import type { Lifecycle } from "../../core/lifecycle.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import { writePublicFile } from "../../core/secret-file.ts";
import type { LogChoice, StateChoice } from "../config/engine-choice.ts";
import type { EngineConfig } from "../config/engine-config.ts";
import { BACKENDS, FEATURE_TITLES, type LogFeature } from "../log/capabilities.ts";
import { lockDirectory } from "../log/directory-lock.ts";
import type { EventLog, RetentionLimits } from "../log/event-log.ts";
import { type LogConfig, openLog, wantedByRetention } from "../log/open-log.ts";
import type { RecoveryNote } from "../log/recovery.ts";
import { makeDirectory } from "../log/segment.ts";
import { openState, type StateOptions } from "../state/open-state.ts";
import { put, type StateStore } from "../state/state-store.ts";

export interface EnginesOptions extends EngineConfig {
	readonly dataDir: string;
	readonly limits: { readonly eventBytesMax: number };
	readonly clock: Clock;
	readonly rng: Rng;
	readonly logger: Logger;
	/** Closes them, the state before the log. */
	readonly lifecycle: Lifecycle;
}

export interface Engines {
	readonly log: EventLog;
	readonly recovery: readonly RecoveryNote[];
	readonly state: StateStore;
	/** Of this data directory: the same after a restart, and no other node's. */
	readonly nodeId: string;
	/** Whether other nodes may use both as well. */
	readonly isShared: boolean;
	/** What the log does not hold by itself; somebody has to have it truncated. */
	readonly retention: RetentionLimits | undefined;
}

/** What a state knows of the log that its positions are of. */
interface Binding {
	readonly backend: string;
	readonly name: string;
}

const ID_FILE = "node.id";
const ID = /^[0-9a-f]{16}$/;
const ID_DIGITS = 16;
export const STATE_FILE = "state.db";
const BINDING = { table: "nexus", key: "log" } as const;

/** Rejects with a readable error where one of them cannot be had, cannot do what is wanted, or is not the other's. */
export async function openEngines(options: EnginesOptions): Promise<Engines> {
	const { dataDir, clock, rng, logger, lifecycle, retention, durability } = options;
	const { backend } = options.log;
	if (backend !== "embedded") {
		makeDirectory(dataDir);
		const lock = lockDirectory(dataDir);
		lifecycle.onClose("the data directory", () => lock.release());
	}
	const { features } = BACKENDS[backend];
	const { engine } = options.state;
	// One of several nodes has a log that they share truncated, not each of them; but a stream of RabbitMQ is declared with its limits.
	const isHeldHere = !features.sharedByNodes.has || (engine !== "postgres" && engine !== "nats") || !features.truncateNow.has;
	const { log, recovery } = await openLog(logConfig(options.log, dataDir), {
		clock,
		log: logger,
		...(isHeldHere ? { retention } : {}),
		wanted: { ...wantedByRetention(retention), ...(durability === undefined ? {} : { durability }) },
	});
	lifecycle.onClose("the event log", () => log.close());
	refuseTooLarge(log, options.limits.eventBytesMax);
	const opened = await openState(stateOptions(options.state, dataDir, clock, rng));
	if (!opened.ok) throw new Error(`the state cannot be opened: ${opened.detail}`);
	const state = opened.store;
	lifecycle.onClose("the state", () => state.close());
	await bind(state, { backend, name: logName(options.log) });
	return {
		log,
		recovery,
		state,
		nodeId: await nodeIdOf(dataDir),
		isShared: log.capabilities.features.sharedByNodes.has && state.capabilities.isShared,
		retention: isHeldHere ? undefined : retention,
	};
}

/** What is accepted must be kept: an event that the server refuses would be sent again and again. */
function refuseTooLarge({ capabilities: { backend, eventBytesMax } }: EventLog, wanted: number): void {
	if (eventBytesMax === undefined || wanted <= eventBytesMax) return;
	const setting = backend === "kafka" ? "max.message.bytes of the topic" : "max_payload of the server";
	throw new Error(
		`the log ${backend} takes events of ${eventBytesMax} bytes at most (${setting}), and limits.maxEventBytes is ${wanted}: raise the one, or lower the other`,
	);
}

/** With secrets that are read for each connection. */
export function logConfig(choice: LogChoice, dataDir: string): LogConfig {
	return choice.backend === "embedded" ? { backend: "embedded", dir: dataDir } : choice;
}

/** What it can do, and what not, for who starts it: two lines. */
export function enginesText({ log, state, isShared }: Pick<Engines, "log" | "state" | "isShared">): string {
	const { backend, durability, durabilityBasis, features } = log.capabilities;
	const titles = (has: boolean): string[] =>
		(Object.entries(FEATURE_TITLES) as [LogFeature, string][]).filter(([feature]) => features[feature].has === has).map(([, title]) => title);
	const missing = titles(false);
	return [
		`log: ${backend}; acknowledged means ${durability} (${durabilityBasis}); state: ${state.engine} (${state.capabilities.durability}); ${isShared ? "several nodes may share them" : "one node"}`,
		`the log can: ${titles(true).join(", ")}${missing.length === 0 ? "" : `; it cannot: ${missing.join(", ")}`}`,
	].join("\n");
}

function stateOptions(choice: StateChoice, dataDir: string, clock: Clock, rng: Rng): StateOptions {
	switch (choice.engine) {
		case "sqlite":
			return { engine: "sqlite", file: choice.file ?? join(dataDir, STATE_FILE) };
		case "memory":
			return { engine: "memory" };
		case "postgres":
			return { ...choice, clock, rng };
		case "nats":
			return { ...choice, clock };
	}
}

/** Of its stream, topic, queue or prefix; "" where it has none. */
export function logName(choice: LogChoice): string {
	switch (choice.backend) {
		case "embedded":
		case "memory":
			return "";
		case "nats":
			return choice.stream;
		case "redis":
			return choice.prefix;
		case "kafka":
			return choice.topic;
		case "rabbitmq":
			return choice.queue;
	}
}

/** Positions of one log mean nothing in another: a state stays with the log that it was first opened with. */
async function bind(state: StateStore, binding: Binding): Promise<void> {
	const { table, key } = BINDING;
	const made = await state.commit([put(table, key, binding, 0)]);
	if (made.ok) return;
	if (made.failure !== "conflict") throw new Error(`the state cannot be written: ${made.detail}`);
	const found = await state.get(table, key);
	if (!found.ok) throw new Error(`the state cannot be read: ${found.detail}`);
	const known = found.value?.value as Partial<Binding> | undefined;
	if (known?.backend === binding.backend && known.name === binding.name) return;
	throw new Error(
		`the state ${state.engine} holds positions in the log ${inWords(known)}, and ${inWords(binding)} is configured: they would mean other events; give it a state of its own (\`state\` in the configuration), or go back to that log`,
	);
}

function inWords(binding: Partial<Binding> | undefined): string {
	return `${binding?.backend ?? "of an unknown kind"}${binding?.name === undefined || binding.name === "" ? "" : ` (${binding.name})`}`;
}

async function nodeIdOf(dataDir: string): Promise<string> {
	const path = join(dataDir, ID_FILE);
	try {
		const id = readFileSync(path, "utf8").trim();
		if (ID.test(id)) return id;
		throw new Error(`${path} holds no identity of a node; remove it, and another one is made`);
	} catch (thrown) {
		if (codeOf(thrown) !== "ENOENT") throw thrown;
	}
	const id = new IdSource().hex(ID_DIGITS);
	await writePublicFile(path, `${id}\n`);
	return id;
}
