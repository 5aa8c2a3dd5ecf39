/** A process that publishes in one of three ways: each key in order, each event again until it is acknowledged. */
import { NexusClient, NexusError, type PublishReport } from "../../../src/client/nexus-client.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { BATCH_TYPE } from "../../../src/events/http-binding.ts";
import { finishing, parameters, pause, record } from "./record.ts";
import { sentOf, type WorkEvent, workEvent } from "./workload.ts";

export interface ProducerParameters {
	readonly way: "single" | "batch" | "socket";
	/** Any of them takes events. A socket stays with the first one. */
	readonly urls: readonly string[];
	readonly seed: number;
}

type Send = (events: readonly WorkEvent[]) => Promise<PublishReport>;

// Shorter than Nexus is stopped for, so that the same event waits there more than once.
const ANSWER_MS = 3_000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 300;
// Longer than any outage: the run decides when it is over.
const PATIENCE_MS = 600_000;
// Together some 200 events a second: little enough for two cores that also run three consumers, a broker and another run beside it.
const WAYS = {
	single: { lanes: 6, keys: 1, perKey: 1, pauseMs: 90 },
	batch: { lanes: 2, keys: 3, perKey: 2, pauseMs: 180 },
	socket: { lanes: 8, keys: 1, perKey: 1, pauseMs: 120 },
} as const;

const { way, urls, seed } = parameters<ProducerParameters>();
const rng = seededRng(seed);
const signal = finishing();
const { lanes, keys, perKey, pauseMs } = WAYS[way];
const send = way === "socket" ? await socketSend() : httpSend;
await Promise.all(Array.from({ length: lanes }, (_, lane) => produce(`${way}${lane}`)));
process.exit(0);

async function produce(lane: string): Promise<void> {
	for (let n = 0; !signal.aborted; n += perKey) {
		const events = Array.from({ length: keys * perKey }, (_, i) => workEvent(`${lane}k${Math.floor(i / perKey)}`, n + (i % perKey), rng));
		for (const event of events) record({ what: "sent", ...sentOf(event) });
		const { durability } = await untilAcknowledged(events);
		for (const { id } of events) record({ what: "acknowledged", id, durability });
		await pause(pauseMs * (0.5 + rng()));
	}
}

async function untilAcknowledged(events: readonly WorkEvent[]): Promise<PublishReport> {
	for (;;) {
		try {
			const report = await send(events);
			if (report.accepted + report.duplicates === events.length) return report;
			// All of them are events, and none breaks a schema.
			throw new Error(`of ${events.length} events only some were taken: ${JSON.stringify(report)}`);
		} catch (thrown) {
			if (!(thrown instanceof NexusError) || !thrown.isTransient) throw thrown;
			record({ what: "refused", status: thrown.status });
		}
		await pause(RETRY_MIN_MS + rng() * (RETRY_MAX_MS - RETRY_MIN_MS));
	}
}

/** Without the client: its own retries would hide what each try was answered. */
async function httpSend(events: readonly WorkEvent[]): Promise<PublishReport> {
	const [first] = events;
	const isSingle = way === "single";
	let status = 0;
	let text: string;
	try {
		const response = await fetch(`${oneOf(urls)}/v1/events`, {
			method: "POST",
			headers: { "content-type": isSingle ? "application/cloudevents+json" : BATCH_TYPE },
			body: JSON.stringify(isSingle ? first : events),
			signal: AbortSignal.timeout(ANSWER_MS),
		});
		status = response.status;
		text = await response.text();
	} catch (thrown) {
		throw new NexusError("no answer", 0, "", { cause: thrown });
	}
	if (status !== 200) throw new NexusError(text, status, "");
	return JSON.parse(text) as PublishReport;
}

async function socketSend(): Promise<Send> {
	const socket = await new NexusClient({ url: urls[0] ?? "" }).openSocket({ patienceMs: PATIENCE_MS });
	return ([event]) => socket.send(event as WorkEvent & { readonly [extension: string]: unknown });
}

function oneOf(urls: readonly string[]): string {
	return urls[Math.floor(rng() * urls.length)] ?? "";
}
