/** A sink that gets events as a transform gives them. What a transform cannot do with an event it will not be able to do later either. */
import type { Entry, Sink, Verdict } from "../delivery.ts";
import type { Transformed } from "../transform/transformer.ts";
import { untilCut } from "./until-cut.ts";

export type Transform = (json: Buffer) => Promise<Transformed>;

export class TransformedSink implements Sink {
	readonly #sink: Sink;
	readonly #transform: Transform;

	constructor(sink: Sink, transform: Transform) {
		this.#sink = sink;
		this.#transform = transform;
	}

	get trouble(): string {
		return this.#sink.trouble;
	}

	readiness(nowMs: number): number | Promise<void> {
		return this.#sink.readiness(nowMs);
	}

	async deliver(entry: Entry, signal: AbortSignal, progress: () => void): Promise<Verdict> {
		const transformed = await untilCut(this.#transform(entry.json), signal);
		if (transformed === undefined) return { kind: "nak", reason: "the transform was not done in time" };
		if (!transformed.ok) return verdictOf(transformed);
		return this.#sink.deliver({ ...entry, json: transformed.json }, signal, progress);
	}

	close(): Promise<void> {
		return this.#sink.close();
	}
}

export function verdictOf({ failure, reason }: Transformed & { ok: false }): Verdict {
	return failure === "failed" ? { kind: "term", reason } : { kind: "nak", reason };
}
