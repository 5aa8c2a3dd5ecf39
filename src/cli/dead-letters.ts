/** `nexus dead-letters`: events that a subscription could not deliver: looked at without being taken, tried again, or thrown away. */
import type { CliIo } from "./io.ts";
import { CommandRefused, type NexusFlags, withNexus } from "./nexus-api.ts";
import { asJson } from "./subscriptions.ts";
import { shortTime, shown, tableText } from "./table.ts";

export interface LetterFlags extends NexusFlags {
	readonly json?: boolean;
	readonly limit?: number;
}

export function runDeadLettersList(name: string, flags: LetterFlags, io: CliIo): Promise<number> {
	return withNexus("dead-letters list", flags, io, async ({ client }) => {
		const answer = await client.deadLetters.page(name, flags.limit === undefined ? {} : { limit: flags.limit });
		if (asJson(flags, io)) io.stdout.write(`${JSON.stringify(answer)}\n`);
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

export interface ReplayFlags extends NexusFlags {
	readonly json?: boolean;
	/** At most so many, the oldest first. */
	readonly count?: number;
	readonly sequence: readonly number[];
	readonly type?: string;
}

/** 1 where one of them is dead again. */
export function runDeadLettersReplay(name: string, { count, sequence, type, ...flags }: ReplayFlags, io: CliIo): Promise<number> {
	return withNexus("dead-letters replay", flags, io, async ({ client }) => {
		const answer = await client.deadLetters.replay(name, {
			...(count === undefined ? {} : { count }),
			...(sequence.length === 0 ? {} : { sequences: sequence }),
			...(type === undefined ? {} : { filter: { type } }),
		});
		const { recovered, stillFailed, pending } = answer;
		const text = `${recovered} delivered, ${stillFailed} dead again${pending === 0 ? "" : `, ${pending} under way`}\n`;
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify(answer)}\n` : text);
		return stillFailed === 0 ? 0 : 1;
	});
}

export function runDeadLettersDiscard(name: string, { sequence, ...flags }: ReplayFlags, io: CliIo): Promise<number> {
	return withNexus("dead-letters discard", flags, io, async ({ client }) => {
		if (sequence.length === 0) throw new CommandRefused("say which: --sequence NUMBER, which may be repeated");
		const answer = await client.deadLetters.discard(name, sequence);
		io.stdout.write(`${JSON.stringify(answer)}\n`);
		return 0;
	});
}
