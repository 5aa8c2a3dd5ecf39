/** The bench's command line, checked as a whole. */
import { parseArgs } from "node:util";
import { messageOf } from "../src/core/errors.ts";
import type { GeneratorName } from "./closed-load.ts";
import { PEERS } from "./peers/all.ts";
import type { PeerName } from "./peers/peer.ts";

export const PARTS = ["throughput", "log", "latency", "idle", "start", "reload", "features", "tls"] as const;
export type Part = (typeof PARTS)[number];

export interface Options {
	readonly rounds: number;
	readonly seconds: number;
	readonly warmSeconds: number;
	readonly connections: number;
	readonly bodies: readonly number[];
	readonly only: readonly PeerName[];
	readonly parts: readonly Part[];
	readonly load: GeneratorName | undefined;
	/** Requests/s and seconds of the open-loop runs. */
	readonly rate: number;
	readonly rateSeconds: number;
	readonly idleConnections: number;
	/** How often a start and a reload are repeated. */
	readonly repeats: number;
	readonly quick: boolean;
	readonly json: boolean;
	readonly docs: boolean;
}

export const HELP = `npm run bench -- [options]      measures the sidecar beside its peers, in turns, in one run
npm run bench -- resilience [options]      what clients see while endpoints fail, beside Envoy; see its --help
npm run bench -- nexus [options]      Nexus beside Redis, NATS JetStream, RabbitMQ and Kafka; see its --help

  --rounds N          rounds of the full load (3); ratios are medians over them
  --seconds N         measured seconds per contestant, body and round (5)
  --connections N     kept-alive connections of the full load (64)
  --bodies A,B        body sizes in bytes (100,10240)
  --only A,B          contestants of: ${PEERS.map((peer) => peer.name).join(", ")} (direct always runs)
  --parts A,B         of: ${PARTS.join(", ")}
  --no-log-row        leaves out the second row, with the access log on on all
  --load NAME         wrk or autocannon (wrk where it is installed)
  --rate N            requests/s of the latency part (1000)
  --idle N            connections of the idle part (8000, the most that its HAProxy takes)
  --quick             one short round of everything, to see that it works; its figures mean nothing
  --json              prints the results as JSON instead of tables
  --docs              rewrites the results in docs/benchmarks.md
  --help

Example: npm run bench -- --only ours,haproxy --bodies 100 --parts throughput
Environment: ENVOY_BIN, where Envoy is neither in .runtime/envoy nor on PATH.
`;

export type Parsed =
	| { readonly kind: "run"; readonly options: Options }
	| { readonly kind: "help" }
	| { readonly kind: "wrong"; readonly message: string };

export function parseOptions(argv: readonly string[]): Parsed {
	try {
		return parse(argv);
	} catch (thrown) {
		return { kind: "wrong", message: messageOf(thrown) };
	}
}

function parse(argv: readonly string[]): Parsed {
	const { values } = parseArgs({
		args: [...argv],
		options: {
			rounds: { type: "string" },
			seconds: { type: "string" },
			connections: { type: "string" },
			bodies: { type: "string" },
			only: { type: "string" },
			parts: { type: "string" },
			"no-log-row": { type: "boolean", default: false },
			load: { type: "string" },
			rate: { type: "string" },
			idle: { type: "string" },
			quick: { type: "boolean", default: false },
			json: { type: "boolean", default: false },
			docs: { type: "boolean", default: false },
			help: { type: "boolean", default: false },
		},
	});
	if (values.help) return { kind: "help" };
	const quick = values.quick;
	if (quick && values.docs) throw new Error("--docs publishes figures, and those of --quick mean nothing");
	const seconds = whole("--seconds", values.seconds, quick ? 1 : 5);
	const parts = list("--parts", values.parts, PARTS);
	const names = PEERS.map((peer) => peer.name);
	const [load] = values.load === undefined ? [] : list("--load", values.load, ["wrk", "autocannon"] as const);
	const options: Options = {
		rounds: whole("--rounds", values.rounds, quick ? 1 : 3),
		seconds,
		// V8 has compiled what is hot after about a second of full load.
		warmSeconds: quick ? 1 : 2,
		connections: whole("--connections", values.connections, 64),
		bodies: (values.bodies ?? "100,10240").split(",").map((bytes) => whole("--bodies", bytes, 100)),
		only: list("--only", values.only, names),
		parts: values["no-log-row"] ? parts.filter((part) => part !== "log") : parts,
		load,
		rate: whole("--rate", values.rate, 1000),
		rateSeconds: quick ? 2 : 10,
		idleConnections: whole("--idle", values.idle, quick ? 500 : 8000),
		repeats: quick ? 3 : 7,
		quick,
		json: values.json,
		docs: values.docs,
	};
	return { kind: "run", options };
}

/** Throws for what is no whole number from 1. */
export function whole(option: string, text: string | undefined, otherwise: number): number {
	if (text === undefined) return otherwise;
	if (!/^[1-9]\d{0,7}$/.test(text)) throw new Error(`${option} takes whole numbers from 1, not ${JSON.stringify(text)}`);
	return Number(text);
}

/** The named ones of `known`, all without a text. Throws for a name that is not among them. */
export function list<T extends string>(option: string, text: string | undefined, known: readonly T[]): readonly T[] {
	if (text === undefined) return known;
	return text.split(",").map((item) => {
		const found = known.find((candidate) => candidate === item);
		if (found === undefined) throw new Error(`${option} does not know ${JSON.stringify(item)}; it knows ${known.join(", ")}`);
		return found;
	});
}
