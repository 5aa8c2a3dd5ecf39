/**
 * Outlier detection over the hosts of one upstream, as Envoy's (envoy.config.cluster.v3.OutlierDetection): who is ejected, for how long, and
 * when it returns. It picks no host, and what happens when too few are left (panic) is the balancer's business.
 */
import type { Clock, Timer } from "../../core/clock.ts";
import type { Rng } from "../../core/rng.ts";
import type { OutlierPolicy } from "../../policy/resilience-policy.ts";
import { type EjectionCause, OutlierHost, type OutlierJudge } from "./outlier-host.ts";
import { type SuccessRates, successRates, UNKNOWN_RATES } from "./success-rate.ts";

export type { EjectionCause, OutlierHost } from "./outlier-host.ts";

/** A timer of the system may fire a fraction of a millisecond before its time: that must not cost a host a whole interval. */
const TIMER_SLACK_MS = 1;

/** Called at once, from within what caused it. */
export interface OutlierObserver {
	/** `ejections`: with this one. `detail`: one sentence without a full stop. */
	onEjected(key: string, cause: EjectionCause, ejections: number, forMs: number, detail: string): void;
	/** `policy`: detection was switched off. Not called for a host that has left. */
	onReturned(key: string, by: "time" | "health-check" | "policy", ejections: number): void;
}

export interface OutlierDeps {
	readonly clock: Clock;
	/** Draws the jitter alone. */
	readonly rng: Rng;
	readonly observer: OutlierObserver;
}

export class OutlierDetector implements OutlierJudge {
	#policy: OutlierPolicy;
	readonly #clock: Clock;
	readonly #rng: Rng;
	readonly #observer: OutlierObserver;
	readonly #hosts = new Map<string, OutlierHost>();
	#ejected = 0;
	#withheld = 0;
	#rates = UNKNOWN_RATES;
	#interval: Timer | undefined = undefined;
	#stopped = false;

	constructor(policy: OutlierPolicy, deps: OutlierDeps) {
		this.#policy = policy;
		this.#clock = deps.clock;
		this.#rng = deps.rng;
		this.#observer = deps.observer;
	}

	/** Those that stay keep their state; one that left and comes back begins anew. The one of before counts nothing any more. */
	setHosts(keys: Iterable<string>): void {
		const wanted = new Set(keys);
		for (const [key, host] of this.#hosts) {
			if (wanted.has(key)) continue;
			if (host.ejected) this.#ejected--;
			host.leave();
			this.#hosts.delete(key);
		}
		for (const key of wanted) {
			if (this.#hosts.has(key)) continue;
			const host = new OutlierHost(key, this);
			host.count(this.#active);
			this.#hosts.set(key, host);
		}
		this.#keepTime();
	}

	/** To be kept by who reports on it. Throws where `setHosts` has not named it: such a host could never be ejected. */
	host(key: string): OutlierHost {
		const host = this.#hosts.get(key);
		if (host === undefined) throw new Error(`outlier detection knows no host ${key}`);
		return host;
	}

	/** An active check of the host was fine: an ejected one returns. Does nothing for another, or for one that has left. */
	onHealthy(key: string): void {
		const host = this.#hosts.get(key);
		if (host !== undefined) this.#return(host, "health-check");
	}

	/** Ejected hosts stay so, by the new times; without detection all return and everything is forgotten. */
	configure(policy: OutlierPolicy): void {
		const before = this.#policy;
		this.#policy = policy;
		if (before.enabled !== policy.enabled) this.#switch(policy.enabled);
		if (before.intervalMs !== policy.intervalMs) this.#stopTime();
		this.#keepTime();
	}

	/** Of the last interval. */
	averages(): SuccessRates {
		return this.#rates;
	}

	/** How often a host was found to be an outlier and kept, since too many were ejected. */
	get withheld(): number {
		return this.#withheld;
	}

	get ejected(): number {
		return this.#ejected;
	}

	/** For good: its hosts are as those that have left, not ejected and not counted, and nobody is told. */
	stop(): void {
		this.#stopped = true;
		this.setHosts([]);
	}

	get consecutiveFailures(): number {
		return this.#policy.consecutiveFailures;
	}

	get consecutiveGatewayFailures(): number {
		return this.#policy.consecutiveGatewayFailures;
	}

	get consecutiveLocalOriginFailures(): number {
		return this.#policy.consecutiveLocalOriginFailures;
	}

	reached(host: OutlierHost, cause: EjectionCause, count: number, lastStatus: number): void {
		this.#eject(host, cause, `${count} failures in a row, the last one ${lastStatus === 0 ? "without an answer" : `a ${lastStatus}`}`);
	}

	leftMs(host: OutlierHost): number {
		return Math.max(0, host.ejectedAtMs + this.#ejectionMs(host) - this.#clock.monotonicMs());
	}

	get #active(): boolean {
		return this.#policy.enabled && !this.#stopped;
	}

	#switch(on: boolean): void {
		for (const host of this.#hosts.values()) {
			this.#return(host, "policy");
			host.count(on);
		}
		this.#rates = UNKNOWN_RATES;
	}

	/** Runs the interval while there is a host to look at, and no longer. */
	#keepTime(): void {
		if (!this.#active || this.#hosts.size === 0) this.#stopTime();
		else this.#interval ??= this.#clock.setTimer(this.#policy.intervalMs, () => this.#onInterval());
	}

	#stopTime(): void {
		this.#interval?.cancel();
		this.#interval = undefined;
	}

	#onInterval(): void {
		this.#interval = undefined;
		const nowMs = this.#clock.monotonicMs();
		for (const host of this.#hosts.values()) {
			if (!host.ejected) host.calmDown();
			else if (nowMs - host.ejectedAtMs + TIMER_SLACK_MS >= this.#ejectionMs(host)) this.#return(host, "time");
		}
		this.#judgeRates();
		this.#keepTime();
	}

	/** Compares the hosts with each other by what this interval has brought, worst first: the last places under the cap are theirs. */
	#judgeRates(): void {
		const { successRate: bySuccess, failurePercentage: byFailures } = this.#policy;
		const volumeMin = Math.min(bySuccess?.requestVolume ?? Infinity, byFailures?.requestVolume ?? Infinity);
		const judged: Judged[] = [];
		for (const host of this.#hosts.values()) {
			const { requests } = host;
			// A volume of 0 asks for no requests, but there is no rate of none.
			const enough = host.counting && requests > 0 && requests >= volumeMin;
			if (enough) judged.push({ host, requests, rate: host.successRate });
			host.endInterval(enough);
		}
		judged.sort((a, b) => a.rate - b.rate);
		this.#rates = UNKNOWN_RATES;
		if (bySuccess !== undefined) this.#judgeSuccess(judged, bySuccess);
		if (byFailures !== undefined) this.#judgeFailures(judged, byFailures);
	}

	#judgeSuccess(judged: readonly Judged[], rule: NonNullable<OutlierPolicy["successRate"]>): void {
		const hosts = judged.filter((one) => one.requests >= rule.requestVolume);
		if (hosts.length === 0 || hosts.length < rule.minHosts) return;
		const rates = successRates(
			hosts.map((one) => one.rate),
			rule.stdevFactor,
		);
		this.#rates = rates;
		const bar = `${rates.threshold.toFixed(1)} % (mean ${rates.successRateAverage.toFixed(1)} % of ${hosts.length} hosts)`;
		for (const { host, rate } of hosts) {
			if (rate < rates.threshold) this.#eject(host, "success_rate", `success rate ${rate.toFixed(1)} % is below ${bar}`);
		}
	}

	#judgeFailures(judged: readonly Judged[], rule: NonNullable<OutlierPolicy["failurePercentage"]>): void {
		const hosts = judged.filter((one) => one.requests >= rule.requestVolume);
		if (hosts.length === 0 || hosts.length < rule.minHosts) return;
		for (const { host, rate, requests } of hosts) {
			const failed = 100 - rate;
			if (failed < rule.threshold) continue;
			this.#eject(host, "failure_percentage", `${failed.toFixed(1)} % of ${requests} requests failed, ${rule.threshold} % are too many`);
		}
	}

	#eject(host: OutlierHost, cause: EjectionCause, detail: string): void {
		// Two rules may find the same host in one interval.
		if (!host.counting) return;
		if (!this.#mayEject()) {
			this.#withheld++;
			return;
		}
		const { baseEjectionTimeMs: baseMs, maxEjectionTimeMs: maxMs, jitterMs } = this.#policy;
		// It grows one step beyond the maximum, so that a host at the maximum needs a quiet interval more before its time becomes shorter.
		const factor = host.timeFactor * baseMs < maxMs + baseMs ? host.timeFactor + 1 : host.timeFactor;
		this.#ejected++;
		host.eject(this.#clock.monotonicMs(), factor, jitterMs > 0 ? this.#rng() * jitterMs : 0, cause, detail);
		this.#observer.onEjected(host.key, cause, host.ejections, this.#ejectionMs(host), detail);
	}

	/**
	 * At most `maxEjectionPercent` of the hosts, but one always, else a small upstream had no detection: what Envoy does with
	 * `always_eject_one_host`, and did always before that existed. 0 is no percentage but a wish: none.
	 */
	#mayEject(): boolean {
		const percent = this.#policy.maxEjectionPercent;
		return percent > 0 && (this.#ejected === 0 || 100 * (this.#ejected + 1) <= percent * this.#hosts.size);
	}

	/** Base time x factor up to the maximum, which is never less than the base time; the jitter comes on top. */
	#ejectionMs(host: OutlierHost): number {
		const { baseEjectionTimeMs: baseMs, maxEjectionTimeMs: maxMs } = this.#policy;
		return Math.min(baseMs * host.timeFactor, Math.max(baseMs, maxMs)) + host.jitterMs;
	}

	#return(host: OutlierHost, by: "time" | "health-check" | "policy"): void {
		if (!host.ejected) return;
		this.#ejected--;
		host.release();
		this.#observer.onReturned(host.key, by, host.ejections);
	}
}

interface Judged {
	readonly host: OutlierHost;
	readonly requests: number;
	/** 0..100. */
	readonly rate: number;
}
