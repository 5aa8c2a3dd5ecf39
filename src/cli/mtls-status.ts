/** `nexus mtls status`: who several sidecars are, whether `strict` is safe, and what TLS has failed for. */
import { printable, safeJson } from "./event-line.ts";
import type { CliIo } from "./io.ts";
import { fetchMtlsState, judgeStrict } from "./mtls-state.ts";
import { mtlsText } from "./mtls-view.ts";

export interface MtlsStatusOptions {
	/** Admin APIs. */
	readonly urls: readonly string[];
	/** One JSON object a line in a terminal as well; a pipe always gets that. */
	readonly json?: boolean;
}

/** Resolves with 0, or with 1 where one of them could not be asked; the others are shown all the same. */
export async function runMtlsStatus({ urls, json }: MtlsStatusOptions, io: CliIo): Promise<number> {
	const sidecars = await Promise.all(urls.map(async (url) => ({ url, answer: await fetchMtlsState(url) })));
	if (json === true || !io.stdout.isTTY) {
		for (const { url, answer } of sidecars) {
			const shown = typeof answer === "string" ? { url, error: answer } : { url, ...answer, strict: judgeStrict(answer) ?? null };
			io.stdout.write(`${safeJson(shown)}\n`);
			if (typeof answer === "string") io.stderr.write(`nexus mtls status: ${printable(url)}: ${printable(answer)}\n`);
		}
	} else io.stdout.write(mtlsText(sidecars, { colour: io.colour, columns: io.stdout.columns }));
	return sidecars.some(({ answer }) => typeof answer === "string") ? 1 : 0;
}
