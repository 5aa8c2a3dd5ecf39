/**
 * Copies of requests for another upstream, fire and forget: they never delay, change or fail the request that they are copies of.
 * A copy is tried once, its answer is read and dropped, and there are never more than a few at a time.
 */
import type { Clock } from "../../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../../core/deadline-wheel.ts";
import type { Rng } from "../../core/rng.ts";
import type { BodyDecoder } from "../../http1/body-decoder.ts";
import { fieldWriter } from "../../http1/serializer.ts";
import type { Place } from "../../policy/snapshot.ts";
import type { MirrorPolicy } from "../../policy/traffic-policy.ts";
import type { Http1Connection } from "../../upstream/http1-connection.ts";
import { Try, type TryObserver, type TryRequest } from "../../upstream/try.ts";
import type { Upstream } from "../../upstream/upstream.ts";

/** More at a time would mean that the shadow is slower than the service: then only a sample of the traffic is worth copying. */
const COPIES_MAX = 64;

/** Says that a request is a copy, and of which: not a field of the mesh's own, as the service itself should see it. */
const mirrorLine = fieldWriter("x-mirror-of");

export interface MirrorDeps {
	readonly clock: Clock;
	readonly wheel: DeadlineWheel;
	readonly rng: Rng;
}

export interface MirrorCounts {
	sent: number;
	failed: number;
	skipped: number;
}

export class Mirror {
	readonly upstream: Upstream;
	/** The line of the policy that asks for copies. */
	readonly place: Place;
	readonly #percent: number;
	readonly #deps: MirrorDeps;
	readonly counts: MirrorCounts;
	readonly #idle: Copy[] = [];
	#underWay = 0;

	/** `counts` outlive the policy that made this mirror. */
	constructor(upstream: Upstream, { percent, place }: MirrorPolicy, counts: MirrorCounts, deps: MirrorDeps) {
		this.upstream = upstream;
		this.place = place;
		this.#percent = percent;
		this.counts = counts;
		this.#deps = deps;
	}

	/** Whether the next request is to be copied. */
	wants(): boolean {
		if (this.#percent < 100 && this.#deps.rng() * 100 >= this.#percent) return false;
		if (this.#underWay < COPIES_MAX) return true;
		this.counts.skipped++;
		return false;
	}

	/** `head` and `glued` of the request as it goes to its own upstream; `parts`: the rest of its body, undefined where that is not kept. */
	send(method: string, requestId: string, head: string, glued: string, parts: readonly Buffer[] | undefined): void {
		if (parts === undefined || this.#underWay >= COPIES_MAX) {
			this.counts.skipped++;
			return;
		}
		this.#underWay++;
		this.counts.sent++;
		const copy = this.#idle.pop() ?? new Copy(this.#deps, (done, failed) => this.#onEnd(done, failed));
		copy.start(this.upstream, method, `${head}${mirrorLine(requestId)}\r\n${glued}`, [...parts]);
	}

	#onEnd(copy: Copy, failed: boolean): void {
		this.#underWay--;
		if (failed) this.counts.failed++;
		this.#idle.push(copy);
	}
}

class Copy implements TryRequest, TryObserver {
	readonly #try: Try;
	/** For all of it: an answer that never ends must not hold one of the few places. */
	readonly #deadline: Deadline;
	readonly #onEnd: (copy: Copy, failed: boolean) => void;
	#text = "";
	#parts: readonly Buffer[] = [];
	method = "GET";
	readonly host = "";
	readonly target = "";
	readonly route = "";
	complete = true;
	headRequest = false;
	readonly upgrade = false;
	readonly hash = undefined;
	readonly perTryTimeoutMs = undefined;
	readonly trace = undefined;

	constructor({ clock, wheel }: MirrorDeps, onEnd: (copy: Copy, failed: boolean) => void) {
		this.#try = new Try(this, clock, wheel);
		this.#deadline = wheel.deadline(() => this.#onDeadline());
		this.#onEnd = onEnd;
	}

	start(upstream: Upstream, method: string, text: string, parts: readonly Buffer[]): void {
		this.method = method;
		this.headRequest = method === "HEAD";
		this.#text = text;
		this.#parts = parts;
		this.complete = parts.length === 0;
		this.#deadline.arm(upstream.options.timeout.requestMs);
		this.#try.start(upstream, this, 1, false, []);
	}

	header(): string | undefined {
		return undefined;
	}

	textOf(): string {
		return this.#text;
	}

	onSent(tried: Try): void {
		const connection = tried.connection as Http1Connection;
		for (const [i, part] of this.#parts.entries()) connection.write(part, i === this.#parts.length - 1);
	}

	onResponse(_tried: Try, _parser: unknown, body: BodyDecoder): void {
		this.onBody(_tried, body);
	}

	onBody(_tried: Try, body: BodyDecoder): void {
		if (!body.done) return;
		this.#try.finish();
		this.#end(false);
	}

	onInterim(): void {}

	onWritable(): void {}

	/** Never asked for: the head of a copy says no Upgrade. */
	onUpgraded(): void {
		this.#try.cancel("not-its-fault");
		this.#end(true);
	}

	onFailed(): void {
		this.#end(true);
	}

	onInjectedAnswer(): void {
		this.#end(false);
	}

	#onDeadline(): void {
		this.#try.cancel("timeout");
		this.#end(true);
	}

	#end(failed: boolean): void {
		this.#deadline.disarm();
		this.#text = "";
		this.#parts = [];
		this.#onEnd(this, failed);
	}
}
