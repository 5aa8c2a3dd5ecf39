/** Handshakes that fail, in the log: the first ones in words, of a flood only how many there were. */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { TlsRefusal } from "../identity/tls-refusal.ts";
import type { FailedPeer } from "../net/tls-arrival.ts";
import type { TlsFailure } from "../net/tls-cause.ts";

/** A scanner makes thousands; a person needs one of each minute's. */
const WINDOW_MS = 60_000;
const TOLD_PER_WINDOW = 10;

export class TlsFailures {
	readonly #clock: Clock;
	readonly #logger: Logger;
	#windowMs = Number.NEGATIVE_INFINITY;
	#inWindow = 0;
	/** Since start, for metrics. */
	count = 0;

	constructor(clock: Clock, logger: Logger) {
		this.#clock = clock;
		this.#logger = logger;
	}

	add(failure: TlsFailure | TlsRefusal, { remoteAddress }: FailedPeer): void {
		this.count++;
		const nowMs = this.#clock.monotonicMs();
		if (nowMs - this.#windowMs >= WINDOW_MS) {
			if (this.#inWindow > TOLD_PER_WINDOW) this.#logger.warn("further TLS handshakes failed", { count: this.#inWindow - TOLD_PER_WINDOW });
			this.#windowMs = nowMs;
			this.#inWindow = 0;
		}
		if (++this.#inWindow > TOLD_PER_WINDOW) return;
		const { reason, words } = failure;
		this.#logger.warn("a TLS handshake failed", {
			reason,
			words,
			from: remoteAddress,
			...("peer" in failure && { peer: failure.peer, serial: failure.serial }),
		});
	}
}
