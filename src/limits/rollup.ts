/** Refusals, told once a second and limit: how many, and the keys that met them most. Nothing runs where nobody is refused. */
import type { Clock, Timer } from "../core/clock.ts";
import type { NexusEventData } from "../events/catalogue.ts";
import { placeText } from "../policy/explain.ts";
import type { Limiter } from "./limiter.ts";

const WINDOW_MS = 1000;
const TOP_MAX = 5;

/** Keys as people may see them: header values as the first 8 digits of their SHA-256. */
export type RefusalRollup = NexusEventData["nexus.mesh.rate_limit.exceeded"];

export class RefusalRollups {
	readonly #clock: Clock;
	readonly #emit: (rollup: RefusalRollup) => void;
	readonly #refused = new Set<Limiter>();
	#sinceMs = 0;
	#timer: Timer | undefined;

	constructor(clock: Clock, emit: (rollup: RefusalRollup) => void) {
		this.#clock = clock;
		this.#emit = emit;
	}

	/** The first refusal of a limit in this window. */
	add(limiter: Limiter): void {
		this.#refused.add(limiter);
		if (this.#timer !== undefined) return;
		this.#sinceMs = this.#clock.monotonicMs();
		this.#timer = this.#clock.setTimer(WINDOW_MS, () => this.flush());
	}

	/** Tells what there is, though the window may not be over. */
	flush(): void {
		this.#timer?.cancel();
		this.#timer = undefined;
		const windowMs = Math.round(this.#clock.monotonicMs() - this.#sinceMs);
		const refused = [...this.#refused];
		this.#refused.clear();
		for (const limiter of refused) {
			const { name, place } = limiter.policy;
			this.#emit({ windowMs, direction: limiter.direction, limit: name, policy: placeText(place), ...limiter.takeRefusals(TOP_MAX) });
		}
	}
}
