/** `nexus dead-letters`: events that a subscription could not deliver: looked at without being taken, tried again, or thrown away. */
import { withApi } from "./ca.ts";
import type { CliIo } from "./io.ts";
import { type NexusFlags, NexusRefusal } from "./nexus-api.ts";
import { asJson, pathOf } from "./subscriptions.ts";
import { shortTime, shown, tableText } from "./table.ts";

/** A replay waits for its outcome. */
const REPLAY_TIMEOUT_MS = 60_000;

interface LetterView {
	readonly sequence: number;
	readonly attempts: number;
	readonly reason: string;
	readonly parkedAt: string;
	readonly event: { readonly type?: unknown; readonly id?: unknown };
}

export interface LetterFlags extends NexusFlags {
	readonly json?: boolean;
	readonly limit?: number;
}

export function runDeadLettersList(name: string, flags: LetterFlags, io: CliIo): Promise<number> {
	return withApi("dead-letters list", flags, io, async (api) => {
		const query = flags.limit === undefined ? "" : `?limit=${flags.limit}`;
		const answer = await api.json<{ deadLetters: readonly LetterView[]; total: number }>(`${pathOf(name)}/dead-letters${query}`);
		if (asJson(flags, io)) io.stdout.write(`${JSON.stringify(answer)}\n`);
		else if (answer.total === 0) io.stdout.write(`${shown(name)} has no dead letters\n`);
		else {
			const rows = answer.deadLetters.map(({ sequence, parkedAt, attempts, reason, event }) => [
				String(sequence),
				shortTime(parkedAt),
				String(attempts),
				shown(String(event.type ?? "")),
				shown(String(event.id ?? "")),
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
	return withApi("dead-letters replay", flags, io, async (api) => {
		const body = {
			...(count === undefined ? {} : { count }),
			...(sequence.length === 0 ? {} : { sequences: sequence }),
			...(type === undefined ? {} : { filter: { type } }),
		};
		const answer = await api.json<{ recovered: number; stillFailed: number; pending: number }>(`${pathOf(name)}/dead-letters/replay`, {
			method: "POST",
			body,
			signal: AbortSignal.timeout(REPLAY_TIMEOUT_MS),
		});
		const { recovered, stillFailed, pending } = answer;
		const text = `${recovered} delivered, ${stillFailed} dead again${pending === 0 ? "" : `, ${pending} under way`}\n`;
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify(answer)}\n` : text);
		return stillFailed === 0 ? 0 : 1;
	});
}

export function runDeadLettersDiscard(name: string, { sequence, ...flags }: ReplayFlags, io: CliIo): Promise<number> {
	return withApi("dead-letters discard", flags, io, async (api) => {
		if (sequence.length === 0) throw new NexusRefusal("say which: --sequence NUMBER, which may be repeated", 0, "");
		const answer = await api.json<Readonly<Record<string, number>>>(`${pathOf(name)}/dead-letters/discard`, {
			method: "POST",
			body: { sequences: sequence },
		});
		io.stdout.write(`${JSON.stringify(answer ?? {})}\n`);
		return 0;
	});
}
