/** When each endpoint of one upstream is checked, and who is told what came of it. */
import type { Clock, Timer } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Rng } from "../core/rng.ts";
import type { Address, HealthCheckPolicy } from "../policy/snapshot.ts";
import { afterResult, type HealthState, type HealthStatus, PENDING, statusOf } from "./endpoint-health.ts";
import { type ProbeOptions, type ProbeResult, probe } from "./probe.ts";

// Sockets that one upstream's checks hold at a time: 10,000 endpoints must not open as many at once.
const RUNNING_MAX = 128;
// First checks are spread over this, or the interval where it is shorter: soon enough for a start, no burst.
const SPREAD_MS = 1_000;
// So that the sidecars of a mesh, started together, do not check together for ever (Envoy: interval_jitter_percent).
const JITTER = 0.1;
// A service that comes up just after its callers is looked for more often than one that has been well and fell ill:
// every second for half a minute, which is what a slow start takes.
const STARTING_INTERVAL_MS = 1_000;
const STARTING_CHECKS_MAX = 30;

export interface HealthTarget {
	/** Identity: what keeps its key keeps its state. */
	readonly key: string;
	readonly address: Address;
	/** What an earlier checker knew of it, where checks are configured anew; else it begins as pending. Read when it is added. */
	readonly known?: "healthy" | "unhealthy";
}

export interface HealthDetail {
	/** Of the latest failure, "" where none has been. */
	readonly lastError: string;
	/** Results in a row that led here. */
	readonly consecutive: number;
}

export interface HealthCheckerOptions {
	readonly policy: HealthCheckPolicy;
	/** For the log. */
	readonly upstream: string;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
	/** Where the endpoints speak TLS. */
	readonly connectorTo?: ProbeOptions["connectorTo"];
	/** After each check of an endpoint that counts as healthy and has just passed. */
	readonly onPassed?: (key: string) => void;
	/** Each change of the verdict, `first` where there was none before: a pending endpoint's first result is always told. Never during `setEndpoints`. */
	readonly onChange: (key: string, healthy: boolean, detail: HealthDetail & { readonly first: boolean }) => void;
	/** For tests of the schedule; the real one where absent. */
	readonly probe?: typeof probe;
}

interface Check {
	readonly key: string;
	readonly address: Address;
	state: HealthState;
	lastError: string;
	timer: Timer | undefined;
	running: AbortController | undefined;
}

export class HealthChecker {
	readonly #options: HealthCheckerOptions;
	readonly #probe: typeof probe;
	readonly #probeOptions: ProbeOptions;
	readonly #checks = new Map<string, Check>();
	/** Due, in order, until one of the running ones ends. */
	readonly #due = new Set<Check>();
	#running = 0;

	constructor(options: HealthCheckerOptions) {
		this.#options = options;
		this.#probe = options.probe ?? probe;
		this.#probeOptions = { ...options.policy, connectorTo: options.connectorTo };
	}

	/** The whole list: what stays keeps state and schedule, what is new is checked at once, what is gone is forgotten. */
	setEndpoints(targets: readonly HealthTarget[]): void {
		const keys = new Set(targets.map(({ key }) => key));
		for (const [key, check] of this.#checks) if (!keys.has(key)) this.#forget(check);
		const added: Check[] = [];
		for (const { key, address, known } of targets) {
			if (this.#checks.has(key)) continue;
			const state: HealthState = known === undefined ? PENDING : { kind: known, run: 0, failed: known === "unhealthy" };
			const check: Check = { key, address, state, lastError: "", timer: undefined, running: undefined };
			this.#checks.set(key, check);
			added.push(check);
		}
		const step = Math.min(this.#options.policy.intervalMs, SPREAD_MS) / added.length;
		added.forEach((check, i) => {
			if (i === 0) this.#begin(check);
			else this.#schedule(check, i * step);
		});
	}

	/** Undefined for an endpoint that is not checked here. */
	status(key: string): (HealthDetail & { readonly health: HealthStatus }) | undefined {
		const check = this.#checks.get(key);
		return check === undefined ? undefined : { health: statusOf(check.state), ...detailOf(check) };
	}

	/** Idempotent; ends what runs and calls nobody back afterwards. */
	stop(): void {
		for (const check of this.#checks.values()) this.#forget(check);
	}

	#forget(check: Check): void {
		this.#checks.delete(check.key);
		this.#due.delete(check);
		check.timer?.cancel();
		check.running?.abort();
	}

	#schedule(check: Check, delayMs: number): void {
		check.timer = this.#options.clock.setTimer(delayMs, () => {
			check.timer = undefined;
			this.#begin(check);
		});
	}

	#begin(check: Check): void {
		if (this.#running >= RUNNING_MAX) {
			this.#due.add(check);
			return;
		}
		const running = new AbortController();
		check.running = running;
		this.#running++;
		void this.#probe(check.address, this.#probeOptions, this.#options.clock, running.signal).then((result) => {
			check.running = undefined;
			this.#running--;
			this.#beginNextDue();
			// The same key may stand for a new check by now, or for none: identity tells.
			if (this.#checks.get(check.key) === check) this.#take(check, result);
		});
	}

	#beginNextDue(): void {
		for (const check of this.#due) {
			this.#due.delete(check);
			this.#begin(check);
			return;
		}
	}

	#take(check: Check, result: ProbeResult): void {
		const { policy, upstream, log, onChange } = this.#options;
		const before = statusOf(check.state);
		check.state = afterResult(check.state, result.ok, policy);
		if (!result.ok) {
			check.lastError = result.error;
			log.debug("health check failed", { upstream, endpoint: check.key, error: result.error });
		}
		this.#schedule(check, this.#intervalMs(check.state));
		const after = statusOf(check.state);
		if (result.ok && after === "healthy") this.#options.onPassed?.(check.key);
		if (after !== before) onChange(check.key, after === "healthy", { ...detailOf(check), first: before === "pending" });
	}

	#intervalMs(state: HealthState): number {
		const { policy, rng } = this.#options;
		const hurried = state.kind === "starting" && state.run <= STARTING_CHECKS_MAX;
		const intervalMs = hurried ? Math.min(policy.intervalMs, STARTING_INTERVAL_MS) : policy.intervalMs;
		return intervalMs * (1 - JITTER + 2 * JITTER * rng());
	}
}

function detailOf({ state, lastError }: Check): HealthDetail {
	return { lastError, consecutive: state.kind === "pending" ? 0 : state.run };
}
