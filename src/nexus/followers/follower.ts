/**
 * One follower. It goes with its cohort while it takes what it is sent; who is behind reads the log alone, as fast as its reader takes, until it is
 * where the cohort is. So a slow reader costs a position and not memory.
 */
import { setImmediate } from "node:timers/promises";
import type { SseStream } from "../../server/sse.ts";
import type { Cohort } from "./cohort.ts";
import { partsOf } from "./event-frames.ts";

export class Follower {
	readonly stream: SseStream;
	/** Of the cohort, while it is a member: its place among them. */
	slot = -1;
	/** All that is to be sent up to here has been sent; meaningless while it is a member. */
	position: number;
	readonly #cohort: Cohort;
	#isReading = false;

	constructor(stream: SseStream, cohort: Cohort, position: number) {
		this.stream = stream;
		this.position = position;
		this.#cohort = cohort;
	}

	start(): void {
		this.#cohort.enter();
		this.stream.onDrain(() => this.goOn());
		this.stream.onClose(() => this.#cohort.leave(this));
		this.goOn();
	}

	/** There may be something to read, and room for it. */
	goOn(): void {
		if (this.slot >= 0 || this.#isReading || !this.stream.isReady) return;
		this.#isReading = true;
		void this.#catchUp();
	}

	async #catchUp(): Promise<void> {
		const { stream } = this;
		try {
			while (stream.isReady) {
				this.position = Math.min(this.position, this.#cohort.end);
				if (this.#cohort.admit(this) || this.#cohort.waits(this)) return;
				const page = await this.#cohort.readFor(this.position);
				for (const { part, last } of partsOf(page)) {
					// The rest is read again once the reader has caught up.
					if (!stream.isReady) return;
					stream.sendShared(part);
					this.position = last;
				}
				this.position = Math.max(this.position, page.end);
				if (this.#cohort.admit(this, page.atEnd)) return;
				// A log that has it all in memory would never let go of the loop.
				await setImmediate();
			}
		} catch (thrown) {
			this.#cohort.failed(thrown);
			stream.close();
		} finally {
			this.#isReading = false;
		}
	}
}
