/** How far a long piece of work is, on one line of the terminal that is written over; nothing where the output is no terminal. */
import type { Clock } from "../core/clock.ts";
import type { CliStream } from "./io.ts";

const WIDTH = 24;
const EVERY_MS = 100;
/** Before that a rate is noise. */
const RATE_AFTER_MS = 500;

export class ProgressBar {
	readonly #stream: CliStream;
	readonly #clock: Clock;
	readonly #title: string;
	readonly #unit: "bytes" | "events";
	readonly #startedAtMs: number;
	/** Where it was when it was first told: work that goes on has a past that cost no time. */
	#base: number | undefined;
	#toldAtMs = Number.NEGATIVE_INFINITY;
	#isShown = false;

	constructor(stream: CliStream, clock: Clock, title: string, unit: "bytes" | "events") {
		this.#stream = stream;
		this.#clock = clock;
		this.#title = title;
		this.#unit = unit;
		this.#startedAtMs = clock.monotonicMs();
	}

	tell(done: number, total: number): void {
		this.#base ??= done;
		const nowMs = this.#clock.monotonicMs();
		if (!this.#stream.isTTY || (nowMs - this.#toldAtMs < EVERY_MS && done < total)) return;
		this.#toldAtMs = nowMs;
		this.#isShown = true;
		const part = total === 0 ? 1 : Math.min(1, done / total);
		const filled = Math.round(part * WIDTH);
		const bar = `${"#".repeat(filled)}${"-".repeat(WIDTH - filled)}`;
		const line = `${this.#title} [${bar}] ${String(Math.floor(part * 100)).padStart(3)} %${this.#rest(done, total, nowMs - this.#startedAtMs)}`;
		this.#stream.write(`\r${line.slice(0, this.#stream.columns - 1)}\x1b[K`);
	}

	/** The line is free again. */
	end(): void {
		if (this.#isShown) this.#stream.write("\r\x1b[K");
	}

	#rest(done: number, total: number, tookMs: number): string {
		const moved = done - (this.#base ?? 0);
		const amount = `  ${this.#text(done)} of ${this.#text(total)}`;
		if (tookMs < RATE_AFTER_MS || moved <= 0) return amount;
		const perSecond = (moved / tookMs) * 1000;
		return `${amount}  ${this.#text(Math.round(perSecond))}/s  ${Math.ceil((total - done) / perSecond)} s left`;
	}

	#text(count: number): string {
		return this.#unit === "bytes" ? bytesText(count) : String(count);
	}
}

/** `12.3 MiB` */
export function bytesText(bytes: number): string {
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let value = bytes;
	let unit = 0;
	for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
	return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
