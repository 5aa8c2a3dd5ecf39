/** `nexus dead-letters`: events that a subscription could not deliver: looked at without being taken, tried again, or thrown away. */
import type { DeadLetterReplay, DeadLetterReplayProgress } from "../client/nexus-client.ts";
import type { Clock } from "../core/clock.ts";
import { safeJson } from "./event-line.ts";
import type { CliIo } from "./io.ts";
import { CommandRefused, type NexusFlags, withNexus } from "./nexus-api.ts";
import { ProgressBar } from "./progress-bar.ts";
import { asJson } from "./subscriptions.ts";
import { shortTime, shown, tableText } from "./table.ts";

export interface LetterFlags extends NexusFlags {
	readonly json?: boolean;
	readonly limit?: number;
}

export function runDeadLettersList(name: string, flags: LetterFlags, io: CliIo): Promise<number> {
	return withNexus("dead-letters list", flags, io, async ({ client }) => {
		const answer = await client.deadLetters.page(name, flags.limit === undefined ? {} : { limit: flags.limit });
		if (asJson(flags, io)) io.stdout.write(`${safeJson(answer)}\n`);
		else if (answer.total === 0) io.stdout.write(`${shown(name)} has no dead letters\n`);
		else {
			const rows = answer.deadLetters.map(({ sequence, parkedAt, attempts, reason, event }) => [
				String(sequence),
				shortTime(parkedAt),
				String(attempts),
				shown(event.type),
				shown(event.id),
				shown(reason),
			]);
			const more = answer.total > rows.length ? `${answer.total - rows.length} more\n` : "";
			io.stdout.write(tableText(["SEQUENCE", "PARKED (UTC)", "TRIES", "TYPE", "ID", "WHY"], rows) + more);
		}
		return 0;
	});
}

/** All that is known of the letters of one event, with the event, as JSON. */
export function runDeadLettersShow(name: string, sequence: number, flags: NexusFlags, io: CliIo): Promise<number> {
	return withNexus("dead-letters show", flags, io, async ({ client }) => {
		const letters = await client.deadLetters.peek(name, sequence);
		if (letters.length === 0) throw new CommandRefused(`${sequence} is no dead letter of ${shown(name)}`);
		for (const letter of letters) io.stdout.write(`${safeJson(letter, io.stdout.isTTY ? 2 : undefined)}\n`);
		return 0;
	});
}

export interface ReplayFlags extends NexusFlags {
	readonly json?: boolean;
	/** At most so many, the oldest first. */
	readonly count?: number;
	readonly sequence: readonly number[];
	readonly type?: string;
}

export interface ReplayContext {
	readonly clock: Clock;
	/** What has not begun by then stays a dead letter. */
	readonly signal: AbortSignal;
}

/** 1 where one of them is dead again. */
export function runDeadLettersReplay(name: string, flags: ReplayFlags, io: CliIo, context: ReplayContext): Promise<number> {
	return withNexus("dead-letters replay", flags, io, async ({ client: { deadLetters } }) => {
		const { sequence: sequences, count, type } = flags;
		context.signal.addEventListener("abort", () => io.stderr.write("ending as soon as those under way are decided; once more ends at once\n"));
		const which = { ...(count !== undefined && { count }), ...(type !== undefined && { filter: { type } }) };
		const told =
			sequences.length > 0
				? await deadLetters.replay(name, { ...which, sequences })
				: await replayAll(deadLetters.replayAll(name, which), io, context);
		const { recovered, stillFailed, pending } = told;
		const text = `${recovered} delivered, ${stillFailed} dead again${pending === 0 ? "" : `, ${pending} under way`}\n`;
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify({ recovered, stillFailed, pending })}\n` : text);
		return stillFailed === 0 ? 0 : 1;
	});
}

async function replayAll(replay: AsyncIterable<DeadLetterReplayProgress>, io: CliIo, { clock, signal }: ReplayContext): Promise<DeadLetterReplay> {
	const bar = new ProgressBar(io.stderr, clock, "replaying", "events");
	let told: DeadLetterReplay = { recovered: 0, stillFailed: 0, pending: 0 };
	try {
		for await (const progress of replay) {
			told = progress;
			bar.tell(progress.done, progress.total);
			if (signal.aborted) break;
		}
	} finally {
		bar.end();
	}
	if (signal.aborted) io.stderr.write("ended; what has not been tried is a dead letter as before\n");
	return told;
}

export function runDeadLettersDiscard(name: string, { sequence, ...flags }: ReplayFlags, io: CliIo): Promise<number> {
	return withNexus("dead-letters discard", flags, io, async ({ client }) => {
		if (sequence.length === 0) throw new CommandRefused("say which: --sequence NUMBER, which may be repeated");
		const answer = await client.deadLetters.discard(name, sequence);
		io.stdout.write(`${JSON.stringify(answer)}\n`);
		return 0;
	});
}
