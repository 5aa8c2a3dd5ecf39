/** A decision trace in one header field: what was decided, in order, without the words. */
import type { Decision, DecisionStage } from "../../policy/decision-trace.ts";

// Far below the 64 KiB that clients and proxies commonly take for all fields, and enough for some fifty decisions.
export const COMPACT_CHARS_MAX = 4096;
const MARK = "...";
const SEPARATOR = "; ";
// What one decision says in words where it has no shorter form.
const GIST_CHARS_MAX = 160;
// Everything but visible ASCII and the space; and what separates the items, which nothing inside of one may look like.
const UNFIT = /[^\x20-\x7e]/g;

// When these happened is half of what they say; the others are done at once.
const TIMED: ReadonlySet<DecisionStage> = new Set<DecisionStage>(["attempt", "retry", "hedge", "answer"]);

/**
 * `route=canary(policy.yaml:12); pick=10.0.0.1:80; !attempt=1 503 @12ms; retry=25ms @12ms; attempt=2 200 @41ms`: at most 4096
 * characters of visible ASCII, safe as the value of a field whatever the decisions say; `...` at its end marks that there was more.
 *
 * A decision's gist is the string `brief` of its data, else its text; `@` is the time since the head of the request; `!` stands
 * before the stage that said no.
 */
export function compactTrace(decisions: readonly Decision[]): string {
	let text = "";
	for (const decision of decisions) {
		const item = (text === "" ? "" : SEPARATOR) + compactItem(decision);
		if (text.length + item.length > COMPACT_CHARS_MAX - SEPARATOR.length - MARK.length) return `${text}${SEPARATOR}${MARK}`;
		text += item;
	}
	return text;
}

function compactItem({ stage, verdict, atMs, text, place, data }: Decision): string {
	const gist = fit(typeof data?.brief === "string" ? data.brief : text);
	const where = place === undefined ? "" : `(${fit(place.file.slice(place.file.lastIndexOf("/") + 1))}:${place.line})`;
	const when = TIMED.has(stage) ? ` @${Math.round(atMs * 10) / 10}ms` : "";
	return `${verdict === "no" ? "!" : ""}${stage}=${gist}${where}${when}`;
}

function fit(text: string): string {
	const cut = text.length > GIST_CHARS_MAX ? `${text.slice(0, GIST_CHARS_MAX - MARK.length)}${MARK}` : text;
	return cut.replace(UNFIT, "?").replaceAll(";", ",").trim();
}
