/** `nexus events` and `nexus schemas`: their options and help. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { systemClock } from "../core/clock.ts";
import type { EventsOptions } from "./events.ts";
import { examples } from "./examples.ts";
import type { CliIo } from "./io.ts";
import type { NexusFlags } from "./nexus-api.ts";
import { nexusOptions, wholeNumber } from "./shared-options.ts";

/** `done` gets the exit code. `stopSignal`: aborted by Ctrl-C and its kin. */
export function addEvents(program: Command, io: CliIo, done: (code: number) => void, stopSignal: () => AbortSignal): void {
	nexusOptions(program.command("events").description("what happened: readable lines in a terminal, JSON when piped"))
		.option("--follow", "stay, and print what comes", false)
		.option("--type <pattern>", "type, `*` allowed: nexus.mesh.*")
		.option("--source <source>", "/mesh/SERVICE/INSTANCE")
		.option("--subject <subject>", "what the event is about")
		.option("--since <time>", "RFC 3339 time, or back from now: 30s, 10m, 2h, 1d")
		.option("--until <time>", "RFC 3339 time, or back from now")
		.option("--after <sequence>", "only events after this sequence", wholeNumber)
		.option("--limit <count>", "at most so many", wholeNumber)
		.option("--replay [speed]", "at the pace at which they came, or so many times faster", speed)
		.addOption(new Option("--order <order>", "by sequence").choices(["asc", "desc"]))
		.option("--json", "JSON in a terminal as well")
		.addHelpText(
			"after",
			examples(
				["nexus events --follow", "everything, as it happens"],
				["nexus events --since 10m --follow", "the last ten minutes, and what comes"],
				["nexus events --since 1h --replay 60", "the last hour in a minute"],
				["nexus events --type 'nexus.mesh.endpoint.*' --limit 20 --order desc", "the last changes of health"],
				["nexus events --type nexus.mesh.traffic.routed | jq .data", "JSON, as the output is a pipe"],
				["nexus events --url https://nexus.internal:7400 --ca ca.pem --token-file read.token", "over TLS, with a token of role read"],
			),
		)
		.action(async ({ replay, ...options }: Omit<EventsOptions, "replay"> & { replay?: number | true }) => {
			const { runEvents } = await import("./events.ts");
			const context = { clock: systemClock, signal: stopSignal() };
			done(await runEvents({ ...options, ...(replay !== undefined && { replay: replay === true ? 1 : replay }) }, io, context));
		});
}

export function addSchemas(program: Command, io: CliIo, done: (code: number) => void): void {
	const schemas = program.command("schemas").description("what the data of events must look like, and events that do not");
	const load = () => import("./schemas.ts");
	const json = ["--json", "JSON in a terminal as well"] as const;
	nexusOptions(schemas.command("list").description("the latest schema of each type"))
		.option(...json)
		.action(async (options: NexusFlags & { json?: boolean }) => done(await (await load()).runSchemasList(options, io)));
	nexusOptions(schemas.command("show").description("the schema of a type, as JSON").argument("<type>", "of the events"))
		.option("--version <number>", "an older one", wholeNumber)
		.action(async (type: string, options: NexusFlags & { version?: number }) => done(await (await load()).runSchemasShow(type, options, io)));
	nexusOptions(schemas.command("put").description("give a type a schema, or a new version of it"))
		.argument("<type>", "of the events")
		.argument("<file>", "JSON Schema 2020-12 of `data`; - for standard input")
		.addOption(new Option("--compatibility <mode>", "what is asked of the change").choices(["backward", "forward", "full", "none"]))
		.addOption(new Option("--on-violation <what>", "what becomes of events that are not valid").choices(["refuse", "park"]))
		.addHelpText(
			"after",
			examples(
				["nexus schemas put shop.order.placed order.schema.json", "refuse what is not valid; the next version has to take what this one takes"],
				["nexus schemas put shop.order.placed order.schema.json --on-violation park", "keep what is not valid, to look at it later"],
			),
		)
		.action(async (type: string, file: string, options: NexusFlags) => done(await (await load()).runSchemasPut(type, file, options, io)));
	nexusOptions(schemas.command("delete").description("forget all schemas of a type").argument("<type>", "of the events")).action(
		async (type: string, options: NexusFlags) => done(await (await load()).runSchemasDelete(type, options, io)),
	);
	nexusOptions(schemas.command("parked").description("events that violate their schema, and wait for somebody"))
		.option("--type <type>", "of the events")
		.option("--replay", "publish those that are valid by now")
		.option(...json)
		.action(async (options: NexusFlags & { type?: string; replay?: boolean; json?: boolean }) =>
			done(await (await load()).runSchemasParked(options, io)),
		);
}

function speed(text: string): number {
	const value = Number(text.replace(/x$/, ""));
	if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError("It is how many times faster: 2, 60.");
	return value;
}
