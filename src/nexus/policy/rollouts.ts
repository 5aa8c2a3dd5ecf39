/**
 * Moves each roll-out on, or takes it back: once a second for as long as there is one. All that it must not forget is in the state, and each step
 * is one commit against what it saw: a Nexus that was killed goes on where it was, and of several nodes one is first.
 */
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { EventLog } from "../log/event-log.ts";
import type { CommitOutcome } from "../state/state-store.ts";
import type { InstanceReports } from "./instance-reports.ts";
import type { TellOwn } from "./own-events.ts";
import type { PolicyBook } from "./policy-book.ts";
import type { PolicyHead, RolloutState } from "./policy-records.ts";
import { judge } from "./rollout-judge.ts";
import { completed, isForEverybody, nextStage, type Reports, rolledBack, type StageStart, stageText, withoutLost } from "./rollout-steps.ts";
import { RolloutTraffic } from "./rollout-traffic.ts";

const LOOK_MS = 1_000;
/** Of instances that had it: one may be restarted meanwhile, more are no chance. */
const LOST_MAX = 1;

export interface RolloutsOptions {
	readonly book: PolicyBook;
	readonly reports: InstanceReports;
	readonly log: EventLog;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly logger: Logger;
	readonly tell: TellOwn;
}

/** What is remembered of a stage; a new process begins its times anew. */
interface Watched {
	readonly rollout: RolloutState;
	readonly traffic: RolloutTraffic;
	/** By the monotonic clock. */
	lookedMs: number;
	/** How long it was waited so far for instances to take it. Those that are started again may take what is left, and no more. */
	waitedMs: number;
	/** When all whose turn it is had taken it. */
	settledMs: number | undefined;
	/** Why its last step could not be written. */
	fault: string;
}

export class Rollouts {
	readonly #options: RolloutsOptions;
	readonly #watched = new Map<string, Watched>();
	readonly #stopListening: () => void;
	#timer: Timer | undefined;
	#isClosed = false;

	constructor(options: RolloutsOptions) {
		this.#options = options;
		this.#stopListening = options.book.onChange(() => this.#schedule());
		this.#schedule();
	}

	/** What a stage begins with. */
	startOf(service: string): StageStart {
		const { reports, rng, clock, log } = this.#options;
		return { reports: reports.of(service), rng, nowMs: clock.wallMs(), lastSequence: log.stats().lastSequence };
	}

	/** Ended by somebody; undefined where there is none under way. */
	async takeBack(service: string, cause: string): Promise<CommitOutcome | undefined> {
		const rollout = this.#options.book.head(service)?.rollout ?? null;
		return rollout === null ? undefined : this.#rollBack(service, rollout, cause, false);
	}

	close(): void {
		this.#isClosed = true;
		this.#timer?.cancel();
		this.#stopListening();
	}

	#schedule(): void {
		const { book, clock } = this.#options;
		if (this.#isClosed || this.#timer !== undefined || !book.services().some((service) => book.head(service)?.rollout)) return;
		this.#timer = clock.setTimer(LOOK_MS, () => void this.#lookAtAll());
	}

	async #lookAtAll(): Promise<void> {
		const { book, logger } = this.#options;
		for (const service of book.services()) {
			const rollout = book.head(service)?.rollout ?? null;
			if (rollout === null) this.#watched.delete(service);
			else {
				try {
					await this.#look(service, rollout);
				} catch (thrown) {
					logger.error("a roll-out could not be looked at; it is tried again", { service, error: messageOf(thrown) });
				}
			}
			if (this.#isClosed) return;
		}
		this.#timer = undefined;
		this.#schedule();
	}

	async #look(service: string, rollout: RolloutState): Promise<void> {
		const { clock } = this.#options;
		const reports = this.#options.reports.of(service);
		const watched = this.#watch(service, rollout);
		const refusal = refusalIn(reports, rollout.version);
		if (refusal !== undefined) return void (await this.#rollBack(service, rollout, refusal));
		const isLast = isForEverybody(rollout);
		if (!isLast && rollout.instances.some((instance) => !reports.has(instance))) return this.#replaceLost(service, rollout, reports);
		const waiting = (isLast ? [...reports.keys()] : rollout.instances).filter((instance) => reports.get(instance)?.running !== rollout.version);
		const nowMs = clock.monotonicMs();
		if (waiting.length > 0) watched.waitedMs += nowMs - watched.lookedMs;
		watched.lookedMs = nowMs;
		if (waiting.length > 0 && watched.waitedMs < rollout.patienceMs) return;
		if (isLast) return this.#complete(service, rollout, waiting);
		if (waiting.length > 0) return void (await this.#rollBack(service, rollout, `${waiting[0]} has not taken it in time`));
		watched.settledMs ??= clock.monotonicMs();
		await this.#judge(service, watched, watched.settledMs);
	}

	async #judge(service: string, { rollout, traffic }: Watched, settledMs: number): Promise<void> {
		await traffic.read();
		const verdict = judge(traffic.comparisons, rollout.minRequests);
		if (verdict.kind === "worse") return void (await this.#rollBack(service, rollout, verdict.words));
		const seenMs = this.#options.clock.monotonicMs() - settledMs;
		if (verdict.kind === "fine" && seenMs >= rollout.holdMs) return this.#advance(service, rollout, "no worse than the others");
		if (verdict.kind === "fine" || seenMs < Math.max(rollout.holdMs, rollout.patienceMs)) return;
		// In doubt, back; where there is nothing to look at, there is nothing to harm.
		if (verdict.kind === "suspect") await this.#rollBack(service, rollout, `it looks worse, and was not cleared in time: ${verdict.words}`);
		else await this.#advance(service, rollout, `too little to judge by: ${verdict.words}`);
	}

	async #advance(service: string, rollout: RolloutState, verdict: string): Promise<void> {
		const next = nextStage(rollout, this.startOf(service));
		if ((await this.#change(service, rollout, (head) => ({ ...head, rollout: next })))?.ok !== true) return;
		this.#options.logger.info("a roll-out goes on", { service, version: rollout.version, stage: stageText(next.stages[next.stage]), verdict });
		this.#options.tell("nexus.policy.rollout.advanced", service, { ...dataOf(service, next), verdict });
	}

	async #replaceLost(service: string, rollout: RolloutState, reports: Reports): Promise<void> {
		const next = withoutLost(rollout, this.startOf(service));
		const lost = rollout.instances.find((instance) => !reports.has(instance));
		if (next.lost > LOST_MAX || next.instances.length === 0)
			return void (await this.#rollBack(service, rollout, `${lost} went silent while it had it, and is not the first`));
		if ((await this.#change(service, rollout, (head) => ({ ...head, rollout: next })))?.ok === true)
			this.#options.logger.warn("an instance went silent in a roll-out; another one has its turn", {
				service,
				version: rollout.version,
				instance: lost,
			});
	}

	async #complete(service: string, rollout: RolloutState, waiting: readonly string[]): Promise<void> {
		const { clock, logger, tell } = this.#options;
		const reason = waiting.length === 0 ? "all instances have it" : `${waiting.length} instances have not taken it yet`;
		if ((await this.#change(service, rollout, (head) => completed(head, rollout, reason, clock.wallMs())))?.ok !== true) return;
		logger.info("a roll-out is complete", { service, version: rollout.version, reason });
		tell("nexus.policy.rollout.completed", service, dataOf(service, rollout));
	}

	async #rollBack(service: string, rollout: RolloutState, cause: string, automatic = true): Promise<CommitOutcome | undefined> {
		const { clock, logger, tell } = this.#options;
		const outcome = await this.#change(service, rollout, (head) => rolledBack(head, rollout, cause, clock.wallMs()));
		if (outcome?.ok !== true) return outcome;
		logger.warn("a roll-out was taken back", { service, version: rollout.version, cause, automatic });
		tell("nexus.policy.rollout.rolled_back", service, { ...dataOf(service, rollout), cause, automatic });
		return outcome;
	}

	/** Only if it still is as it was seen. */
	async #change(service: string, seen: RolloutState, change: (head: PolicyHead) => PolicyHead): Promise<CommitOutcome | undefined> {
		const { book, logger } = this.#options;
		const outcome = await book.change(service, (head) => (head.rollout === seen ? change(head) : undefined));
		const fault = outcome === undefined || outcome.ok || outcome.failure === "conflict" ? "" : outcome.detail;
		const watched = this.#watched.get(service);
		// Once for each trouble: it is tried again every second.
		if (fault !== "" && watched !== undefined && watched.fault !== fault)
			logger.warn("a step of a roll-out could not be written; it is tried again", { service, version: seen.version, detail: fault });
		if (watched !== undefined) watched.fault = fault;
		return outcome;
	}

	#watch(service: string, rollout: RolloutState): Watched {
		const known = this.#watched.get(service);
		if (known !== undefined && known.rollout === rollout) return known;
		const { log, reports, clock } = this.#options;
		const staged = (instance: string): { readonly sinceMs: number | undefined } | undefined => {
			if (!rollout.instances.includes(instance)) return undefined;
			const report = reports.get(service, instance);
			return { sinceMs: report?.running === rollout.version ? report.sinceMs : undefined };
		};
		const { afterSequence, stageMs } = rollout;
		const traffic = new RolloutTraffic({ log, service, afterSequence, stageMs, staged });
		const watched: Watched = { rollout, traffic, lookedMs: clock.monotonicMs(), waitedMs: 0, settledMs: undefined, fault: "" };
		this.#watched.set(service, watched);
		return watched;
	}
}

export function dataOf(
	service: string,
	rollout: RolloutState,
): { service: string; version: number; from: number; stage: string; instances: readonly string[] } {
	const { version, from, stages, stage, instances } = rollout;
	return { service, version, from, stage: stageText(stages[stage]), instances: isForEverybody(rollout) ? [] : instances };
}

function refusalIn(reports: Reports, version: number): string | undefined {
	for (const [instance, { rejected }] of reports) {
		if (rejected?.version !== version) continue;
		const [first] = rejected.faults;
		return `${instance} refuses it: ${first === undefined ? "it does not say why" : `${first.place} ${first.message}`}`;
	}
	return undefined;
}
