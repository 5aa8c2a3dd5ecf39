/**
 * Feeds one SSE stream from the log: everything behind a sequence, in order, each event once, then what comes. It pulls as fast as its reader
 * takes, so that a slow reader costs a position and not memory.
 */
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { type SseStream, sseFrame } from "../server/sse.ts";
import { storedEventJson } from "./event-json.ts";
import { FOLLOW_PAGE_EVENTS } from "./limits.ts";
import type { EventFilter, EventLog } from "./log/event-log.ts";

export interface FollowerOptions {
	readonly log: EventLog;
	readonly logger: Logger;
	readonly filter: EventFilter;
	/** Events behind this sequence are sent. */
	readonly after: number;
}

/** Runs until the stream closes. Sequences that can no longer be read are told as an event of type `gap`. */
export function follow(stream: SseStream, { log, logger, filter, after }: FollowerOptions): void {
	let position = after;
	let isRunning = false;
	let isAsked = false;

	const pump = async (): Promise<void> => {
		if (isRunning) {
			isAsked = true;
			return;
		}
		isRunning = true;
		try {
			do {
				isAsked = false;
				await sendWhatIsThere();
			} while (isAsked && stream.isReady);
		} catch (thrown) {
			logger.error("a follower could not read the log; its stream was closed", { error: messageOf(thrown) });
			stream.close();
		} finally {
			isRunning = false;
		}
	};

	const sendWhatIsThere = async (): Promise<void> => {
		while (stream.isReady) {
			const oldest = log.stats().firstSequence;
			if (position < oldest - 1) sendGap(position + 1, oldest - 1);
			const page = await log.read({ ...filter, after: position, order: "asc", limit: FOLLOW_PAGE_EVENTS });
			for (const { first, last } of page.damaged) sendGap(first, last);
			for (const event of page.events) {
				// The rest of the page is read again once the reader has caught up.
				if (!stream.isReady) return;
				stream.sendFrame(sseFrame({ id: event.sequence, data: storedEventJson(event) }));
				position = event.sequence;
			}
			position = Math.max(position, page.scannedTo);
			if (page.atEnd) return;
		}
	};

	const sendGap = (first: number, last: number): void => {
		stream.sendFrame(sseFrame({ event: "gap", data: JSON.stringify({ first, last }) }));
		position = Math.max(position, last);
	};

	// An id without data: who loses the connection before the first event resumes from here, not from the end.
	stream.sendFrame(`id: ${position}\n\n`);
	stream.onClose(log.onCommit(() => void pump()));
	stream.onDrain(() => void pump());
	void pump();
}
