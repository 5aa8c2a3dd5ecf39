/** What others learn of a try: its breaker gets the permit back with a verdict, outlier detection and the balancer what they count. */
import type { Clock } from "../core/clock.ts";
import type { Reason } from "../core/reasons.ts";
import { type Breaker, type BreakerOutcome, REJECTED } from "../resilience/breaker/breaker.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Upstream } from "./upstream.ts";

/** What says nothing about the endpoint: it stands for our own limits, or for a connection that simply had grown old. */
const NOT_ITS_FAULT: ReadonlySet<Reason> = new Set([
	"endpoint_overflow",
	"queue_timeout",
	"no_healthy_endpoint",
	"no_route",
	"upstream_idle_race",
	"client_closed",
	"application_not_ready",
	"breaker_open",
]);

/** Belongs to one try and is used again for the next one. */
export class Judgement {
	readonly #clock: Clock;
	/** The permit that is owed. */
	#breaker: Breaker | undefined;
	#ticket = REJECTED;
	/** Nobody is to count what becomes of this try: a fault was injected that is exempt. */
	exempt = false;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/** Asks for a permit; false: the breaker is open. */
	permit(breaker: Breaker): boolean {
		const ticket = breaker.acquire();
		if (ticket === REJECTED) return false;
		this.#breaker = breaker;
		this.#ticket = ticket;
		return true;
	}

	/** The head of an answer has come after `latencyMs`. */
	answered(upstream: Upstream, endpoint: Endpoint, status: number, latencyMs: number, nowMs: number, retryAfterMs: number | undefined): void {
		if (this.exempt) {
			this.#settle("ignored", latencyMs, nowMs, "");
			return;
		}
		if (this.#breaker !== undefined) {
			const outcome = this.#breaker.outcomeOf(status);
			this.#settle(outcome, latencyMs, nowMs, outcome === "failure" ? `${status} from ${endpoint.key}` : "");
		}
		endpoint.outlier?.onStatus(status);
		const { latency } = endpoint;
		if (latency !== undefined) {
			// A refusal is quick, and must not look good.
			if (status >= 500 || status === 429) latency.penalize(Math.max(upstream.options.balancing.failurePenaltyMs, retryAfterMs ?? 0), nowMs);
			else latency.observe(latencyMs, nowMs);
		}
		upstream.guards.latency?.observe(latencyMs, nowMs);
	}

	/** It came to nothing. `endpoint`: undefined where none was chosen. `sentMs`: 0 where nothing was sent. */
	failed(upstream: Upstream, endpoint: Endpoint | undefined, reason: Reason, sentMs: number): void {
		const nowMs = this.#clock.monotonicMs();
		if (endpoint === undefined || this.exempt || NOT_ITS_FAULT.has(reason)) {
			this.#settle("ignored", 0, nowMs, "");
			return;
		}
		this.#settle("failure", sentMs === 0 ? 0 : nowMs - sentMs, nowMs, `${reason} at ${endpoint.key}`);
		endpoint.outlier?.onLocalFailure();
		endpoint.latency?.penalize(upstream.options.balancing.failurePenaltyMs, nowMs);
	}

	/** A try that was sent later was answered first. Once is bad luck; silent for so long several times in a row, an endpoint is not well. */
	overtaken(endpoint: Endpoint, sentMs: number): void {
		if (this.exempt) return;
		const nowMs = this.#clock.monotonicMs();
		const waitedMs = nowMs - sentMs;
		endpoint.outlier?.onLocalFailure();
		// What it would have taken in the end is unknown, but not less.
		if (endpoint.latency !== undefined && waitedMs > endpoint.latency.get(nowMs)) endpoint.latency.observe(waitedMs, nowMs);
	}

	/** Nobody is to blame, and nothing was learned. Idempotent, as all of this: a permit is given back once. */
	release(): void {
		if (this.#breaker !== undefined) this.#settle("ignored", 0, this.#clock.monotonicMs(), "");
		this.exempt = false;
	}

	#settle(outcome: BreakerOutcome, latencyMs: number, nowMs: number, error: string): void {
		const breaker = this.#breaker;
		if (breaker === undefined) return;
		this.#breaker = undefined;
		breaker.settle(this.#ticket, outcome, latencyMs, nowMs, error);
	}
}
