/** One server-sent event stream (WHATWG HTML, section 9.2): framing, heartbeats, and a bound on what a slow reader may hold. */
import type { Clock, Timer } from "../core/clock.ts";
import type { ServerResponse } from "./server-response.ts";
import type { SharedPart } from "./shared-part.ts";

export interface SseEvent {
	/** Comes back as `Last-Event-ID` when the reader reconnects. */
	readonly id?: string | number;
	readonly event?: string;
	readonly data: string;
}

export interface SseOptions {
	readonly clock: Clock;
	/** Most bytes that wait for a slow reader. Default 1 MiB: seconds of a busy tap, and 10,000 stuck readers are still bounded. */
	readonly bufferBytesMax?: number;
	/** Between two comments that keep the connection alive through middle boxes. Default 15 s. */
	readonly heartbeatMs?: number;
}

const BUFFER_BYTES_MAX = 1024 * 1024;
const HEARTBEAT_MS = 15_000;
// A reader that took nothing at all over this many heartbeats is gone or stuck.
const STALLED_HEARTBEATS_MAX = 2;

export class SseStream {
	readonly #res: ServerResponse;
	readonly #clock: Clock;
	readonly #bufferBytesMax: number;
	readonly #heartbeatMs: number;
	readonly #closers: (() => void)[] = [];
	#heartbeat: Timer | undefined;
	#stalled = 0;
	#open = true;

	private constructor(res: ServerResponse, options: SseOptions) {
		this.#res = res;
		this.#clock = options.clock;
		this.#bufferBytesMax = options.bufferBytesMax ?? BUFFER_BYTES_MAX;
		this.#heartbeatMs = options.heartbeatMs ?? HEARTBEAT_MS;
	}

	/** Sends the head at once. The caller has checked that the request may have the stream. */
	static open(res: ServerResponse, options: SseOptions): SseStream {
		const stream = new SseStream(res, options);
		res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" }).flushHead();
		res.onClose(() => stream.#closed());
		res.onDrain(() => {
			stream.#stalled = 0;
		});
		stream.#beat();
		return stream;
	}

	get isOpen(): boolean {
		return this.#open;
	}

	/** False while the socket holds more than it likes to; a source that can wait should wait for `onDrain`. */
	get isReady(): boolean {
		return this.#open && (!this.#res.needsDrain || this.#res.unsentBytes === 0);
	}

	/** False when the stream is closed, also by this very call because the reader is too slow. */
	send(event: SseEvent): boolean {
		return this.sendFrame(sseFrame(event));
	}

	/** As `send`, for a frame made once by `sseFrame` and sent to many. */
	sendFrame(frame: string): boolean {
		if (!this.#open) return false;
		if (this.#res.unsentBytes + frame.length > this.#bufferBytesMax) {
			this.#res.destroy();
			this.#closed();
			return false;
		}
		this.#res.write(frame);
		return true;
	}

	/** Frames that many streams send, for a source that asks `isReady` before each part: what a slow reader may hold is one of them. */
	sendShared(part: SharedPart): void {
		if (this.#open) this.#res.writeShared(part);
	}

	/** Runs `callback` whenever the reader has caught up with what was written. */
	onDrain(callback: () => void): void {
		this.#res.onDrain(callback);
	}

	/** Runs once, when the stream ends for whatever reason; at once if it has ended already. */
	onClose(callback: () => void): void {
		if (this.#open) this.#closers.push(callback);
		else callback();
	}

	/** Ends the stream in good order; what was sent still arrives. */
	close(): void {
		if (!this.#open) return;
		this.#res.end();
		this.#closed();
	}

	#beat(): void {
		this.#heartbeat = this.#clock.setTimer(this.#heartbeatMs, () => {
			// A busy stream is full at nearly every look; it is stuck only if it has not drained once in between.
			this.#stalled = this.#res.needsDrain ? this.#stalled + 1 : 0;
			if (this.#stalled > STALLED_HEARTBEATS_MAX) {
				this.#res.destroy();
				this.#closed();
			} else if (this.#stalled > 0 || this.sendFrame(":\n\n")) this.#beat();
		});
	}

	#closed(): void {
		if (!this.#open) return;
		this.#open = false;
		this.#heartbeat?.cancel();
		for (const closer of this.#closers.splice(0)) closer();
	}
}

/** The bytes of one event. Line breaks in `data` become several data lines, which the reader joins again; in `id` and `event` they are dropped. */
export function sseFrame(event: SseEvent): string {
	let frame = "";
	if (event.id !== undefined) frame += `id: ${oneLine(String(event.id))}\n`;
	if (event.event !== undefined) frame += `event: ${oneLine(event.event)}\n`;
	const data = /[\r\n]/.test(event.data) ? event.data.replace(/\r\n|\r|\n/g, "\ndata: ") : event.data;
	return `${frame}data: ${data}\n\n`;
}

function oneLine(text: string): string {
	return text.replace(/[\r\n\0]/g, "");
}
