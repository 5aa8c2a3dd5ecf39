/**
 * Lines to a file descriptor, in batches: never blocks the event loop, never grows beyond its bound, counts what it
 * loses. The one place that deals with full disks, stopped readers and closed pipes; access log and log share it.
 */
import fs from "node:fs";
import { isatty } from "node:tty";
import type { Clock, Timer } from "../core/clock.ts";
import { codeOf } from "../core/errors.ts";

// A batch leaves when the first of these is reached. 256 lines make the write a small part of a line's cost (measured:
// 1.0-1.3 us a line with batches of 256); 64 KiB is what a pipe takes at once; 100 ms is still "now" to a person.
const BATCH_LINES_MAX = 256;
const BATCH_CHARS_MAX = 64 * 1024;
const BATCH_DELAY_MS = 100;
// About 10,000 lines: 200 ms of full load, the longest stall of a disk that should not cost a line.
const HELD_BYTES_MAX = 4 * 1024 * 1024;
// A full pipe is emptied in milliseconds or not at all; a full disk is looked after by a person.
const PIPE_RETRY_MS = 10;
const DISK_RETRY_MS = 1000;
// Nothing will ever be read from or written to these again.
const FINAL_CODES = new Set(["EPIPE", "EBADF", "EINVAL", "EISDIR", "ENXIO"]);

export interface LineWriterOptions {
	/** A descriptor that stays open when the writer closes, or a path to append to. */
	readonly destination: number | string;
	readonly clock: Clock;
	readonly batchLinesMax?: number;
	readonly batchDelayMs?: number;
	/** Most bytes held at a time, from 1; one batch more may be on its way. Lines beyond it are dropped and counted. */
	readonly heldBytesMax?: number;
	/** Told once when writing begins to fail, and again only after it has worked in between. */
	readonly onFault?: (code: string) => void;
}

interface Batch {
	readonly bytes: Buffer;
	readonly lines: number;
}

export class LineWriter {
	readonly #fd: number;
	readonly #ownsFd: boolean;
	readonly #clock: Clock;
	readonly #batchLinesMax: number;
	readonly #batchDelayMs: number;
	readonly #heldBytesMax: number;
	readonly #onFault: ((code: string) => void) | undefined;
	#text = "";
	#textLines = 0;
	#cutTimer: Timer | undefined;
	readonly #queue: Batch[] = [];
	#queuedBytes = 0;
	#running: Promise<void> | undefined;
	#wake: (() => void) | undefined;
	#inSystem = false;
	#faulty = false;
	#open = true;
	/** No attempt is made any more; what is still held counts as dropped. */
	#gone = false;
	/** Lines handed to the system in full. */
	written = 0;
	/** Lines lost for want of room, or to a descriptor that is gone. */
	dropped = 0;

	/** Throws where a path cannot be opened. */
	constructor(options: LineWriterOptions) {
		const { fd, owned } = openDestination(options.destination);
		this.#fd = fd;
		this.#ownsFd = owned;
		this.#clock = options.clock;
		this.#batchLinesMax = options.batchLinesMax ?? BATCH_LINES_MAX;
		this.#batchDelayMs = options.batchDelayMs ?? BATCH_DELAY_MS;
		this.#heldBytesMax = options.heldBytesMax ?? HELD_BYTES_MAX;
		this.#onFault = options.onFault;
	}

	/** Bytes in memory at this moment, those on their way included. */
	get heldBytes(): number {
		return this.#text.length + this.#queuedBytes;
	}

	/** `line` ends with a newline. Returns at once, whatever the state of the descriptor. */
	write(line: string): void {
		if (!this.#open || this.heldBytes + line.length > this.#heldBytesMax) {
			this.dropped++;
			return;
		}
		this.#text += line;
		this.#textLines++;
		if (this.#textLines >= this.#batchLinesMax || this.#text.length >= BATCH_CHARS_MAX) this.#cut();
		else this.#cutTimer ??= this.#clock.setTimer(this.#batchDelayMs, () => this.#cut());
	}

	/** Resolves when what was written before has reached the system or never will, or when `timeoutMs` is over. */
	async flush(timeoutMs: number): Promise<void> {
		this.#cut();
		if (this.#running === undefined) return;
		const { promise: timeout, resolve } = Promise.withResolvers<void>();
		const timer = this.#clock.setTimer(timeoutMs, resolve);
		await Promise.race([this.#running, timeout]);
		timer.cancel();
	}

	/** Takes no more lines, flushes, gives up what is left after `timeoutMs`, and closes what it opened. */
	async close(timeoutMs: number): Promise<void> {
		if (!this.#open) return;
		this.#open = false;
		await this.flush(timeoutMs);
		this.#gone = true;
		this.#wake?.();
		// A write that hangs in the system keeps its descriptor; whoever closes does not wait for it.
		const ended = (this.#running ?? Promise.resolve()).then(() => this.#closeFd());
		if (!this.#inSystem) await ended;
	}

	/** The last words of a process that ends by a fault: blocks, tries once, leaves what is on its way to the system. */
	flushSync(): void {
		this.#seal();
		for (const batch of this.#queue.splice(0)) {
			try {
				fs.writeSync(this.#fd, batch.bytes);
				this.#done(batch, true);
			} catch {
				this.#done(batch, false); // there is nobody left to tell
			}
		}
	}

	#cut(): void {
		this.#seal();
		if (this.#queue.length === 0) return;
		this.#running ??= this.#run().finally(() => {
			this.#running = undefined;
		});
	}

	/** Makes a batch of the lines so far; whoever calls sees to its being written. */
	#seal(): void {
		this.#cutTimer?.cancel();
		this.#cutTimer = undefined;
		if (this.#text === "") return;
		const bytes = Buffer.from(this.#text);
		this.#queue.push({ bytes, lines: this.#textLines });
		this.#queuedBytes += bytes.length;
		this.#text = "";
		this.#textLines = 0;
	}

	async #run(): Promise<void> {
		for (let batch = this.#queue.shift(); batch !== undefined; batch = this.#queue.shift()) {
			this.#done(batch, await this.#put(batch.bytes));
		}
	}

	#done(batch: Batch, whole: boolean): void {
		this.#queuedBytes -= batch.bytes.length;
		if (whole) this.written += batch.lines;
		else this.dropped += batch.lines;
	}

	/** True when every byte was taken; a line is never cut by a short write or a full disk, only by the end. */
	async #put(bytes: Buffer): Promise<boolean> {
		let offset = 0;
		while (offset < bytes.length) {
			if (this.#gone) return false;
			this.#inSystem = true;
			const result = await tryWrite(this.#fd, bytes, offset);
			this.#inSystem = false;
			if (typeof result === "number") {
				offset += result;
				this.#faulty = false;
			} else if (result === "EAGAIN") {
				await this.#pause(PIPE_RETRY_MS);
			} else {
				this.#tellFault(result);
				if (FINAL_CODES.has(result)) this.#gone = true;
				else await this.#pause(DISK_RETRY_MS);
			}
		}
		return true;
	}

	#pause(delayMs: number): Promise<void> {
		return new Promise((resolve) => {
			const timer = this.#clock.setTimer(delayMs, resolve);
			this.#wake = () => {
				timer.cancel();
				resolve();
			};
		});
	}

	#tellFault(code: string): void {
		if (this.#faulty) return;
		this.#faulty = true;
		this.#onFault?.(code);
	}

	#closeFd(): void {
		if (this.#ownsFd) fs.closeSync(this.#fd);
	}
}

/** Bytes taken, or the system's error code. */
function tryWrite(fd: number, bytes: Buffer, offset: number): Promise<number | string> {
	return new Promise((resolve) => {
		fs.write(fd, bytes, offset, bytes.length - offset, null, (error, count) => resolve(error === null ? count : (codeOf(error) ?? "UNKNOWN")));
	});
}

/**
 * Pipes and terminals are opened a second time, without blocking. Otherwise a reader that stopped would hold a thread
 * of the runtime's pool in write(2) and the process could not even exit (measured: `process.exit` hangs). Setting the
 * flag on the descriptor itself would change it for every process that shares it.
 */
function openDestination(destination: number | string): { fd: number; owned: boolean } {
	if (typeof destination === "string") return { fd: fs.openSync(destination, "a"), owned: true };
	if (!isatty(destination) && !fs.fstatSync(destination).isFIFO()) return { fd: destination, owned: false };
	try {
		return { fd: fs.openSync(`/dev/fd/${destination}`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK), owned: true };
	} catch {
		return { fd: destination, owned: false }; // no /dev/fd here: the descriptor as it is
	}
}
