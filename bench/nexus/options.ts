/** The command line of the bench of Nexus, checked as a whole. */
import { parseArgs } from "node:util";
import { messageOf } from "../../src/core/errors.ts";
import { list, whole } from "../options.ts";
import { CONTESTANTS } from "./contestants.ts";
import { EVENT_BYTES } from "./publish-events.ts";

export const PARTS = ["publish", "end-to-end", "replay", "followers", "start", "index", "engines", "soak"] as const;
export type PartName = (typeof PARTS)[number];

export interface Options {
	readonly parts: readonly PartName[];
	readonly seconds: number;
	readonly warmSeconds: number;
	readonly rounds: number;
	/** Names of contestants. */
	readonly only: readonly string[];
	/** Beginnings of the names of rows of publishing. */
	readonly rows: readonly string[] | undefined;
	/** Events/s, end to end. */
	readonly rate: number;
	readonly replayEvents: number;
	readonly startEvents: number;
	readonly followers: number;
	readonly minutes: number;
	readonly quick: boolean;
	readonly json: boolean;
	readonly docs: boolean;
}

/** A soak takes ten minutes: it is asked for by its name. */
const USUAL: readonly PartName[] = PARTS.filter((part) => part !== "soak");

export const NEXUS_HELP = `npm run bench -- nexus [options]      Nexus on one core, the load on another, events of ${EVENT_BYTES} bytes with random UUIDs

  --parts A,B         of: ${PARTS.join(", ")} (all but soak: about 17 minutes)
    publish           acknowledged events/s, beside the brokers that are installed
    end-to-end        from the moment at which an event was to be sent to its arrival at a consumer, beside the same brokers
    replay            a log from its start over the API
    followers         many followers of one type: memory and delay
    start             the start on a log with many events
    index             what one event costs among 10, 1,000 and 100,000 subscriptions
    engines           Nexus itself on each log and state that it can stand on (docs/engines.md)
    soak              memory while one consumer of each kind stands still
  --seconds N         measured for each row of publish, end-to-end, followers and engines (3)
  --warm N            seconds before that (2)
  --rounds N          turns of each row of publish, end-to-end and engines (2); the medians are shown
  --only A,B          of: ${CONTESTANTS.map(({ name }) => name).join(", ")}
  --rows A,B          beginnings of the names of rows of publish
  --rate N            events/s, end to end (10000)
  --replay-events N   stored before the replay (1000000)
  --start-events N    stored before the start (10000000: 5.5 GB in the folder for temporary files, removed after)
  --followers N       (10000; \`ulimit -n\` must allow as many and some more)
  --minutes N         of soak (10)
  --quick             one short round of everything but the soak, to see that it works; its figures mean nothing
  --json              prints the results as JSON instead of tables
  --docs              rewrites the measured parts in docs/benchmarks-nexus.md, and leaves the others as they are
  --help

Example: npm run bench -- nexus --parts publish --rows batches --only "nexus,redis always"
Environment: NATS_SERVER, a newer one than the one on PATH (sync_interval needs 2.10); NEXUS_TEST_KAFKA_LIBS, a folder with the jars of Kafka.
`;

export type Parsed =
	| { readonly kind: "run"; readonly options: Options }
	| { readonly kind: "help" }
	| { readonly kind: "wrong"; readonly message: string };

export function parseNexusOptions(argv: readonly string[]): Parsed {
	try {
		return parse(argv);
	} catch (thrown) {
		return { kind: "wrong", message: messageOf(thrown) };
	}
}

function parse(argv: readonly string[]): Parsed {
	const text = { type: "string" } as const;
	const { values } = parseArgs({
		args: [...argv],
		options: {
			parts: text,
			seconds: text,
			warm: text,
			rounds: text,
			only: text,
			rows: text,
			rate: text,
			"replay-events": text,
			"start-events": text,
			followers: text,
			minutes: text,
			quick: { type: "boolean", default: false },
			json: { type: "boolean", default: false },
			docs: { type: "boolean", default: false },
			help: { type: "boolean", default: false },
		},
	});
	if (values.help) return { kind: "help" };
	const { quick, json, docs } = values;
	if (quick && docs) throw new Error("--docs publishes figures, and those of --quick mean nothing");
	const names = CONTESTANTS.map(({ name }) => name);
	return {
		kind: "run",
		options: {
			parts: values.parts === undefined ? USUAL : list("--parts", values.parts, PARTS),
			seconds: whole("--seconds", values.seconds, quick ? 1 : 3),
			warmSeconds: whole("--warm", values.warm, quick ? 1 : 2),
			rounds: whole("--rounds", values.rounds, quick ? 1 : 2),
			only: list("--only", values.only, names),
			rows: values.rows?.split(","),
			rate: whole("--rate", values.rate, quick ? 1_000 : 10_000),
			replayEvents: whole("--replay-events", values["replay-events"], quick ? 100_000 : 1_000_000),
			startEvents: whole("--start-events", values["start-events"], quick ? 500_000 : 10_000_000),
			followers: whole("--followers", values.followers, quick ? 500 : 10_000),
			minutes: whole("--minutes", values.minutes, quick ? 1 : 10),
			quick,
			json,
			docs,
		},
	};
}
