/** The event streams of the admin API, bounded in number, and ended with it. */
import type { Clock } from "../../core/clock.ts";
import { sendProblem } from "../../server/problem.ts";
import { SseStream } from "../../server/sse.ts";
import type { Call } from "./router.ts";

// Each holds up to 1 MiB for a slow reader; people and one collector look at a sidecar, not a crowd.
const STREAMS_MAX = 16;

export class Streams {
	readonly #clock: Clock;
	readonly #open = new Set<SseStream>();

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/** A stream whose head is sent; undefined where the call is answered already: HEAD, or there are too many. */
	open({ req, res }: Call): SseStream | undefined {
		if (req.method === "HEAD") {
			res.writeHead(200, { "content-type": "text/event-stream" }).end();
			return undefined;
		}
		if (this.#open.size >= STREAMS_MAX) {
			const title = `There are ${STREAMS_MAX} event streams already.`;
			sendProblem(res, { status: 503, title, reason: "stream_limit" }, { "retry-after": "10" });
			return undefined;
		}
		const stream = SseStream.open(res, { clock: this.#clock });
		this.#open.add(stream);
		stream.onClose(() => this.#open.delete(stream));
		return stream;
	}

	closeAll(): void {
		for (const stream of this.#open) stream.close();
	}
}
