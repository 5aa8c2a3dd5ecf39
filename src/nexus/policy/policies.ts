/** Policy distribution as one thing: what people put and take back, what instances are to run, what they say of it. */
import { hostname } from "node:os";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { EventLog } from "../log/event-log.ts";
import { ChangePolls } from "../registry/change-polls.ts";
import type { Read, StateStore } from "../state/state-store.ts";
import { type InstanceReport, InstanceReports } from "./instance-reports.ts";
import { ownEvents, type TellOwn } from "./own-events.ts";
import { PolicyBook, type PutOutcome } from "./policy-book.ts";
import { type PolicyHead, type PolicyVersion, tagOf } from "./policy-records.ts";
import { beginning, type RolloutPlan, wantedVersion } from "./rollout-steps.ts";
import { dataOf, Rollouts } from "./rollouts.ts";

export interface PoliciesOptions {
	readonly store: StateStore;
	readonly log: EventLog;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly logger: Logger;
}

export interface PutRequest {
	readonly text: string;
	readonly author: string;
	readonly reason: string;
	readonly expected: number | undefined;
	/** Undefined: everybody at once. */
	readonly plan: RolloutPlan | undefined;
}

export interface RollbackRequest {
	/** Undefined: ends what is being rolled out, else the version before this one. */
	readonly to: number | undefined;
	readonly author: string;
	readonly reason: string;
}

/** What an instance should run. `tag` is that of no other text; version 0: its own file alone. */
export interface Wanted {
	readonly version: number;
	readonly tag: string;
}

export const NOTHING: Wanted = Object.freeze({ version: 0, tag: "0:" });

export class Policies {
	readonly book: PolicyBook;
	readonly reports: InstanceReports;
	/** Topics are services. */
	readonly polls: ChangePolls;
	readonly tell: TellOwn;
	readonly #rollouts: Rollouts;

	private constructor(options: PoliciesOptions, book: PolicyBook, reports: InstanceReports) {
		this.book = book;
		this.reports = reports;
		this.polls = new ChangePolls(options.clock);
		this.tell = ownEvents({ ...options, instance: `${hostname()}-${process.pid}` });
		book.onChange((service) => this.polls.changed(service));
		this.#rollouts = new Rollouts({ ...options, book, reports, tell: this.tell });
	}

	/** Goes on with roll-outs that were under way. Rejects where the state cannot be read. */
	static async open(options: PoliciesOptions): Promise<Policies> {
		return new Policies(options, await PolicyBook.open(options), await InstanceReports.open(options));
	}

	async put(service: string, { text, author, reason, expected, plan }: PutRequest): Promise<PutOutcome> {
		const rollout = plan && ((version: number, from: number) => beginning(plan, version, from, this.#rollouts.startOf(service)));
		const outcome = await this.book.put(service, { text, author, reason, expected, ...(rollout === undefined ? {} : { rollout }) });
		const begun = outcome.ok && outcome.isNew ? outcome.head.rollout : null;
		if (begun !== null) this.tell("nexus.policy.rollout.started", service, { ...dataOf(service, begun), author, reason });
		return outcome;
	}

	/** At once, for everybody: who takes something back is in a hurry. */
	async rollback(service: string, { to, author, reason }: RollbackRequest): Promise<PutOutcome> {
		const head = this.book.head(service);
		if (head === undefined) return { ok: false, fault: "no_version", words: `there is no policy of ${service}` };
		if (to === undefined && head.rollout !== null) {
			const taken = await this.#rollouts.takeBack(service, `${author}: ${reason}`);
			if (taken?.ok === true) return { ok: true, version: head.current, head, isNew: false };
			if (taken !== undefined && taken.failure !== "conflict") return { ok: false, fault: "not_kept", words: taken.detail };
			return { ok: false, fault: "changed", words: "the roll-out went on or ended meanwhile; look, and try again" };
		}
		const version = to ?? head.history.at(-2);
		const found = version === undefined ? undefined : await this.book.version(service, version);
		if (found?.ok === false) return { ok: false, fault: "not_kept", words: found.detail };
		const target = found?.value;
		if (target === undefined) {
			const words = version === undefined ? "there is no version before this one" : `version ${version} of ${service} is not kept (any more)`;
			return { ok: false, fault: "no_version", words };
		}
		if (head.rollout !== null) await this.#rollouts.takeBack(service, `${author}: ${reason}`);
		return this.book.put(service, { text: target.text, author, reason, restores: target.version });
	}

	wanted(service: string, instance: string): Wanted {
		const head = this.book.head(service);
		if (head === undefined) return NOTHING;
		const version = wantedVersion(head, instance);
		return { version, tag: tagOf(head, version) };
	}

	version(service: string, version: number): Promise<Read<PolicyVersion | undefined>> {
		return this.book.version(service, version);
	}

	head(service: string): PolicyHead | undefined {
		return this.book.head(service);
	}

	report(service: string, instance: string, report: InstanceReport): ReturnType<InstanceReports["take"]> {
		return this.reports.take(service, instance, report);
	}

	/** Those who wait are answered. */
	endPolls(): void {
		this.polls.close();
	}

	close(): void {
		this.endPolls();
		this.#rollouts.close();
		this.book.close();
		this.reports.close();
	}
}
