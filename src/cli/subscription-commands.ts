/** The commands around deliveries, with their options and help: `nexus subscriptions` and `nexus dead-letters`. */
import type { Command } from "commander";
import { systemClock } from "../core/clock.ts";
import type { LetterFlags, ReplayFlags } from "./dead-letters.ts";
import { examples } from "./examples.ts";
import type { CliIo } from "./io.ts";
import type { NexusFlags } from "./nexus-api.ts";
import { nexusOptions, wholeNumber } from "./shared-options.ts";
import type { SubscriptionFlags } from "./subscriptions.ts";

const AS_JSON = "JSON in a terminal as well";

export function addSubscriptions(program: Command, io: CliIo, done: (code: number) => void): void {
	const subscriptions = program
		.command("subscriptions")
		.description("who gets which events: look, make, pause, end")
		.addHelpText(
			"after",
			examples(
				["nexus subscriptions list", "how far each has come, and its dead letters"],
				["nexus subscriptions put billing billing.json", "docs/subscriptions.md shows the document"],
			),
		);
	const named = (verb: string, description: string) =>
		nexusOptions(subscriptions.command(verb).description(description).argument("<name>")).option("--json", AS_JSON);

	nexusOptions(subscriptions.command("list").description("all of them"))
		.option("--json", AS_JSON)
		.addHelpText("after", examples(["nexus subscriptions list", "state, sink, lag, dead letters"]))
		.action(async (options: SubscriptionFlags) => {
			const { runSubscriptionsList } = await import("./subscriptions.ts");
			done(await runSubscriptionsList(options, io));
		});
	named("show", "one of them, with its counts")
		.addHelpText("after", examples(["nexus subscriptions show billing | jq .document", "to change it and put it back"]))
		.action(async (name: string, options: SubscriptionFlags) => {
			const { runSubscriptionsShow } = await import("./subscriptions.ts");
			done(await runSubscriptionsShow(name, options, io));
		});
	nexusOptions(subscriptions.command("put").description("make one, or change it").argument("<name>").argument("<file>", "its document, JSON"))
		.option("--json", AS_JSON)
		.addHelpText("after", examples(["nexus subscriptions put billing billing.json", "one that is there goes on where it was"]))
		.action(async (name: string, file: string, options: SubscriptionFlags) => {
			const { runSubscriptionsPut } = await import("./subscriptions.ts");
			done(await runSubscriptionsPut(name, file, options, io));
		});
	for (const verb of ["pause", "resume"] as const) {
		named(verb, verb === "pause" ? "deliver nothing until it is resumed" : "go on where it was")
			.addHelpText("after", examples([`nexus subscriptions ${verb} billing`, "nothing is lost meanwhile"]))
			.action(async (name: string, options: SubscriptionFlags) => {
				const { runSubscriptionsChange } = await import("./subscriptions.ts");
				done(await runSubscriptionsChange(verb, name, options, io));
			});
	}
	nexusOptions(
		subscriptions
			.command("seek")
			.description("deliver again from an earlier place, or go on from a later one")
			.argument("<name>")
			.argument("<from>", "`new`, `all`, a sequence to begin with, or a time: 2026-01-02T03:04:05Z"),
	)
		.option("--json", AS_JSON)
		.addHelpText("after", examples(["nexus subscriptions seek billing 2026-01-02T03:04:05Z", "all that came since then, once more"]))
		.action(async (name: string, from: string, options: SubscriptionFlags) => {
			const { runSubscriptionsSeek } = await import("./subscriptions.ts");
			done(await runSubscriptionsSeek(name, from, options, io));
		});
	nexusOptions(subscriptions.command("delete").description("end one").argument("<name>"))
		.option("--discard", "with its dead letters, which otherwise keep it from being deleted", false)
		.addHelpText("after", examples(["nexus subscriptions delete billing --discard", "with all that it could not deliver"]))
		.action(async (name: string, options: NexusFlags & { discard?: boolean }) => {
			const { runSubscriptionsDelete } = await import("./subscriptions.ts");
			done(await runSubscriptionsDelete(name, options, io));
		});
}

/** `stopSignal`: aborted by Ctrl-C and its kin. */
export function addDeadLetters(program: Command, io: CliIo, done: (code: number) => void, stopSignal: () => AbortSignal): void {
	const letters = program
		.command("dead-letters")
		.description("events that a subscription could not deliver: look, try again, throw away")
		.addHelpText("after", examples(["nexus dead-letters replay billing", "all of them, before live events"]));
	const sequences = ["--sequence <number>", "this one; may be repeated"] as const;
	const collect = (text: string, before: readonly number[]): number[] => [...before, wholeNumber(text)];

	nexusOptions(letters.command("list").description("what stands there, and why; nothing is taken").argument("<subscription>"))
		.option("--limit <count>", "at most so many", wholeNumber)
		.option("--json", AS_JSON)
		.addHelpText("after", examples(["nexus dead-letters list billing | jq '.deadLetters[].event'", "the events themselves"]))
		.action(async (name: string, options: LetterFlags) => {
			const { runDeadLettersList } = await import("./dead-letters.ts");
			done(await runDeadLettersList(name, options, io));
		});
	nexusOptions(
		letters
			.command("show")
			.description("one of them with its event, as JSON; nothing is taken")
			.argument("<subscription>")
			.argument("<sequence>", "of the event", wholeNumber),
	)
		.addHelpText("after", examples(["nexus dead-letters show billing 17", "why it is there, and what was answered"]))
		.action(async (name: string, sequence: number, options: NexusFlags) => {
			const { runDeadLettersShow } = await import("./dead-letters.ts");
			done(await runDeadLettersShow(name, sequence, options, io));
		});
	nexusOptions(letters.command("replay").description("deliver them again; exit code 1 where one is dead again").argument("<subscription>"))
		.option("--count <count>", "at most so many, the oldest first", wholeNumber)
		.option(...sequences, collect, [])
		.option("--type <pattern>", "events of this type, `*` allowed")
		.option("--json", AS_JSON)
		.addHelpText("after", examples(["nexus dead-letters replay billing --type 'order.*' --count 10", "a few first"]))
		.action(async (name: string, options: ReplayFlags) => {
			const { runDeadLettersReplay } = await import("./dead-letters.ts");
			done(await runDeadLettersReplay(name, options, io, { clock: systemClock, signal: stopSignal() }));
		});
	nexusOptions(letters.command("discard").description("throw some away for good").argument("<subscription>"))
		.option(...sequences, collect, [])
		.addHelpText("after", examples(["nexus dead-letters discard billing --sequence 17", "that one"]))
		.action(async (name: string, options: ReplayFlags) => {
			const { runDeadLettersDiscard } = await import("./dead-letters.ts");
			done(await runDeadLettersDiscard(name, options, io));
		});
}
