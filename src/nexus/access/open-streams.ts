/** Streams outlast the request that opened them: each is asked again when rights may have changed, and ended where they are gone. */
import type { Clock, Timer } from "../../core/clock.ts";

/** Tokens and certificates end without anybody telling. */
const LOOK_MS = 30_000;

interface OpenStream {
	readonly mayGoOn: () => boolean;
	readonly end: () => void;
}

export class OpenStreams {
	readonly #clock: Clock;
	readonly #streams = new Set<OpenStream>();
	#timer: Timer | undefined;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/** The result is to be called when it has ended by itself. */
	add(stream: OpenStream): () => void {
		this.#streams.add(stream);
		this.#timer ??= this.#clock.setTimer(LOOK_MS, () => this.#onTimer());
		return () => void this.#streams.delete(stream);
	}

	/** Now. */
	look(): void {
		for (const stream of this.#streams) {
			if (stream.mayGoOn()) continue;
			this.#streams.delete(stream);
			stream.end();
		}
	}

	close(): void {
		this.#timer?.cancel();
	}

	#onTimer(): void {
		this.look();
		this.#timer = this.#streams.size === 0 ? undefined : this.#clock.setTimer(LOOK_MS, () => this.#onTimer());
	}
}
