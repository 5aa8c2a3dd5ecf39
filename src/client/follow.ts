/** Events as they come, over a stream that is opened again where it breaks: each once and in order. */
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import type { CloudEvent } from "../events/cloud-event.ts";
import { errorOf, NexusError } from "./nexus-error.ts";
import { retryAfterOf, wait } from "./retry.ts";
import { SseReader } from "./sse-reader.ts";
import type { Transport } from "./transport.ts";

export interface StoredEvent<Data = unknown> {
	readonly sequence: number;
	readonly receivedAt: string;
	readonly event: CloudEvent<Data>;
}

export interface FollowOptions {
	readonly signal?: AbortSignal | undefined;
	/** Sequences, inclusive, that cannot be read any more. */
	readonly onGap?: (gap: { readonly first: number; readonly last: number }) => void;
	/** `after`: the sequence behind which it goes on, "" where there was none yet. */
	readonly onBreak?: (cause: string, retryInMs: number, after: string) => void;
	readonly onReconnect?: () => void;
}

const STREAM_TYPE = "text/event-stream";
const RECONNECT_MS = 1_000;
const RECONNECT_MAX_MS = 15_000;
/** Three heartbeats of Nexus. */
const SILENCE_MS = 45_000;

/** Ends never by itself. Throws a NexusError where nobody is there from the start, or where it is refused; or as `signal` is aborted. */
export async function* follow(transport: Transport, path: string, clock: Clock, options: FollowOptions): AsyncGenerator<StoredEvent, never, void> {
	const { signal, onGap, onBreak, onReconnect } = options;
	let reader = new SseReader("");
	let wasConnected = false;
	let delayMs = 0;
	for (;;) {
		let cause = "it ended";
		let askedMs = 0;
		try {
			reader = new SseReader(reader.lastId);
			const resume: Record<string, string> = reader.lastId === "" ? {} : { "last-event-id": reader.lastId };
			const headers = { accept: STREAM_TYPE, ...resume };
			const response = await transport.send(path, { headers, silenceMs: SILENCE_MS, ...(signal && { signal }) });
			if (!response.ok) throw await errorOf(response);
			if (response.headers.get("content-type")?.startsWith(STREAM_TYPE) !== true) {
				await response.body?.cancel();
				throw new NexusError("an answer that is no stream of events, from something that is not Nexus", 0, "");
			}
			if (wasConnected) onReconnect?.();
			wasConnected = true;
			delayMs = 0;
			if (response.body !== null) {
				const decoder = new TextDecoder();
				for await (const chunk of response.body) {
					for (const { event, data } of reader.push(decoder.decode(chunk, { stream: true }))) {
						if (event === "gap") onGap?.(JSON.parse(data) as { first: number; last: number });
						else yield JSON.parse(data) as StoredEvent;
					}
				}
			}
		} catch (thrown) {
			signal?.throwIfAborted();
			// Nobody there from the start is an answer; a stream that breaks is a reason to wait, and a Nexus that cannot serve now another.
			const isAnswer = thrown instanceof NexusError && (thrown.status === 0 ? !wasConnected : !thrown.isTransient);
			askedMs = retryAfterOf(thrown);
			if (isAnswer || (!wasConnected && !(thrown instanceof NexusError))) throw thrown;
			cause = messageOf(thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown);
		}
		delayMs = Math.min(Math.max(RECONNECT_MS, delayMs * 2), RECONNECT_MAX_MS);
		const waitMs = Math.max(delayMs, askedMs);
		onBreak?.(cause, waitMs, reader.lastId);
		await wait(waitMs, clock, signal);
	}
}
