/** A process that takes events and answers for each by its token: yes, not now, never, or not at all, as their sender says. */
import { finishing, parameters, pause, record } from "./record.ts";
import { digestOf, isRefused, isRefusedOutright, type WorkEvent } from "./workload.ts";

export interface PullParameters {
	/** Of the subscription, at each node. Those that do not deliver it send callers on. */
	readonly urls: readonly string[];
	readonly isMended: boolean;
}

interface Delivery {
	readonly token: string;
	readonly event: WorkEvent;
}

const FETCH = JSON.stringify({ max: 12, wait: "1s" });
// Longer than Nexus is stopped for: what it gives out after that is not thrown away.
const ANSWER_MS = 8_000;
const OUTAGE_MS = 100;

const { urls, isMended } = parameters<PullParameters>();
const signal = finishing();
signal.addEventListener("abort", () => process.exit(0));
/** Events that were refused, or left unanswered, once. */
const known = new Set<string>();

let calls = 0;
if (isMended) record({ what: "closed" });
while (!signal.aborted) {
	const fetched = await call<{ deliveries: readonly Delivery[] }>("fetch", FETCH);
	if (fetched === undefined) await pause(OUTAGE_MS);
	else if (fetched.deliveries.length > 0) await answerFor(fetched.deliveries);
}

async function answerFor(deliveries: readonly Delivery[]): Promise<void> {
	const ack: Delivery[] = [];
	const nak: { token: string; reason: string }[] = [];
	const term: string[] = [];
	for (const delivery of deliveries) {
		const { token, event } = delivery;
		record({ what: "delivered", id: event.id, digest: digestOf(event) });
		const isFirst = !known.has(event.id);
		if (event.fate !== "good") known.add(event.id);
		if (isRefused(event, isMended)) {
			if (isRefusedOutright(event)) term.push(token);
			else nak.push({ token, reason: "it is refused" });
		} else if (event.fate === "flaky" && isFirst) nak.push({ token, reason: "not now" });
		else if (event.fate !== "slow" || !isFirst) ack.push(delivery);
	}
	for (const { event } of ack) record({ what: "accepted", id: event.id });
	const tokens = ack.map(({ token }) => token);
	const answer = await call<{ unknown: readonly string[] }>("ack", JSON.stringify({ ack: tokens, nak, term }));
	if (answer === undefined) return;
	for (const { token, event } of ack) if (!answer.unknown.includes(token)) record({ what: "settled", id: event.id });
}

/** Undefined where nobody answered, or not with 200. */
async function call<T>(what: string, body: string): Promise<T | undefined> {
	try {
		const headers = { "content-type": "application/json" };
		const response = await fetch(`${urls[calls++ % urls.length]}/${what}`, { method: "POST", headers, body, signal: AbortSignal.timeout(ANSWER_MS) });
		const text = await response.text();
		return response.status === 200 ? (JSON.parse(text) as T) : undefined;
	} catch {
		return undefined;
	}
}
