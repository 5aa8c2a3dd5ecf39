/** Policies of services as a client puts them, watches their roll-out, and takes them back. */
import { type CallOptions, conditionOf, type JsonCalls, path } from "./json-calls.ts";

export interface Rollout {
	readonly version: number;
	/** The version that the others run. */
	readonly from: number;
	/** One of `stages`. */
	readonly stage: string;
	readonly stages: readonly string[];
	/** That have it. */
	readonly instances: readonly string[];
	readonly startedAt: string;
	readonly stageSince: string;
}

export interface PolicySummary {
	readonly service: string;
	readonly current: number;
	readonly latest: number;
	readonly instances: number;
	readonly upToDate: number;
	readonly rollout: Rollout | null;
}

export interface PolicyVersion {
	readonly version: number;
	readonly hash: string;
	readonly author: string;
	/** Why, for people. */
	readonly reason: string;
	readonly createdAt: string;
	/** The version whose text this is again. */
	readonly restores: number | null;
}

export interface Policy extends PolicyVersion {
	readonly service: string;
	/** The text, YAML. */
	readonly policy: string;
	readonly current: boolean;
}

export interface PolicyVersions {
	readonly service: string;
	readonly current: number;
	readonly versions: readonly PolicyVersion[];
}

export interface PolicyStatus {
	readonly service: string;
	readonly latest: number;
	readonly current: number;
	readonly rollout: Rollout | null;
	readonly lastRollout: {
		readonly version: number;
		readonly state: "completed" | "rolled_back";
		readonly reason: string;
		readonly at: string;
	} | null;
	readonly instances: readonly PolicyInstance[];
}

export interface PolicyInstance {
	readonly instance: string;
	/** That it runs; 0: its own file alone. */
	readonly version: number;
	readonly since: string | null;
	readonly wanted: number;
	readonly state: "current" | "pending" | "rejected";
	readonly rejected: {
		readonly version: number;
		readonly faults: readonly { readonly place: string; readonly message: string; readonly hint: string }[];
	} | null;
	/** Since it was heard. */
	readonly silentMs: number;
}

export interface PolicyPut {
	/** The text, YAML. */
	readonly policy: string;
	/** Why, for people. */
	readonly reason?: string;
	/** Default `staged`: one instance, 10 %, all. */
	readonly rollout?: "staged" | "at-once" | RolloutPlan;
}

export interface RolloutPlan {
	/** `1`, `10%`, `all`, one after the other. */
	readonly stages?: readonly string[];
	/** How long each stage is looked at, at least, as in `30s`. */
	readonly hold?: string;
	/** How long a stage waits for instances, and for requests to be judged by, as in `3m`. */
	readonly patience?: string;
	/** With it and without, before a stage counts as fine. */
	readonly requests?: number;
}

export interface PolicyPutReport {
	readonly service: string;
	readonly version: number;
	/** False where this text is in force already. */
	readonly changed: boolean;
	readonly rollout: "staged" | "at-once" | "none";
}

/** Each call rejects with a NexusError where it is refused. */
export class PoliciesClient {
	readonly #calls: JsonCalls;

	constructor(calls: JsonCalls) {
		this.#calls = calls;
	}

	list(options: CallOptions = {}): Promise<readonly PolicySummary[]> {
		return this.#calls.all("/v1/policies", "policies", options);
	}

	/** `version`: an earlier one; otherwise that in force. */
	get(service: string, { version, ...options }: CallOptions & { readonly version?: number } = {}): Promise<Policy> {
		return this.#calls.json(version === undefined ? path`/v1/policies/${service}` : path`/v1/policies/${service}/versions/${version}`, options);
	}

	versions(service: string, options: CallOptions = {}): Promise<PolicyVersions> {
		return this.#calls.json(path`/v1/policies/${service}/versions`, options);
	}

	/** Rejects with status 422, `bad_policy`, where the text is wrong: `problem.faults` has the place of each fault. */
	put(service: string, put: PolicyPut, { ifVersion, ...options }: CallOptions & PolicyPrecondition = {}): Promise<PolicyPutReport> {
		return this.#calls.json(path`/v1/policies/${service}`, { ...options, method: "PUT", body: put, headers: conditionOf(ifVersion) });
	}

	/** Which instance runs which version since when, and how a roll-out goes. */
	status(service: string, options: CallOptions = {}): Promise<PolicyStatus> {
		return this.#calls.json(path`/v1/policies/${service}/status`, options);
	}

	/** Ends what is being rolled out, else goes back to the version before, or to `to`; for all instances at once. */
	rollBack(
		service: string,
		{ to, reason, ...options }: CallOptions & { readonly to?: number; readonly reason?: string } = {},
	): Promise<PolicyPutReport> {
		return this.#calls.json(path`/v1/policies/${service}/rollback`, { ...options, method: "POST", body: { to, reason } });
	}
}

export interface PolicyPrecondition {
	/** Only where that is the latest version, 0: only where there is none. Otherwise rejects with status 412, `changed`. */
	readonly ifVersion?: number;
}
