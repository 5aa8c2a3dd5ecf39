/** The policies of all services with their versions, as the state keeps them: every change is one commit that names what it rests on. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { PolicyFault } from "../../policy/fault.ts";
import { TableMirror } from "../registry/table-mirror.ts";
import { type CommitOutcome, put, type Read, remove, type StateStore, type Write } from "../state/state-store.ts";
import { documentFaults } from "./policy-document.ts";
import { EMPTY_HEAD, keptVersions, made, type PolicyHead } from "./policy-head.ts";
import { hashOf, headDocument, POLICY_BYTES_MAX, type PolicyVersion, type RolloutState, versionDocument, versionKey } from "./policy-records.ts";

const HEADS = "policies";
const VERSIONS = "policy-versions";
/** Ten times the mesh that this is made for. */
const SERVICES_MAX = 3_000;
/** Others may change the head meanwhile; nobody does so ten times. */
const TRIES = 10;
/** For another node's change to arrive here. */
const HEAR_MS = 250;

export type PutOutcome =
	| { readonly ok: true; readonly version: number; readonly head: PolicyHead; readonly isNew: boolean }
	| { readonly ok: false; readonly fault: "bad_policy"; readonly faults: readonly PolicyFault[] }
	| { readonly ok: false; readonly fault: PutFault; readonly words: string };

/**
 * `changed`: it is not the version that was expected. `under_way`: a roll-out is, which is to be ended first. `no_version`: there is none of this
 * number. `not_kept`: the state refuses.
 */
export type PutFault = "changed" | "under_way" | "too_large" | "too_many" | "no_version" | "not_kept";

export interface NewPolicy {
	readonly text: string;
	readonly author: string;
	readonly reason: string;
	/** The latest version that this one rests on; 0: there is none. Undefined: whatever there is. */
	readonly expected?: number | undefined;
	readonly restores?: number;
	/** The roll-out that it is to take, from the current one; undefined: everybody at once. */
	readonly rollout?: (version: number, from: number) => RolloutState | undefined;
}

export class PolicyBook {
	readonly #store: StateStore;
	readonly #clock: Clock;
	readonly #heads: TableMirror<PolicyHead>;

	private constructor(store: StateStore, clock: Clock, heads: TableMirror<PolicyHead>) {
		this.#store = store;
		this.#clock = clock;
		this.#heads = heads;
	}

	/** Rejects where the state cannot be read. */
	static async open({ store, clock, logger }: { readonly store: StateStore; readonly clock: Clock; readonly logger: Logger }): Promise<PolicyBook> {
		const parse = (value: unknown): PolicyHead | undefined => headDocument.safeParse(value).data;
		return new PolicyBook(store, clock, await TableMirror.open({ store, table: HEADS, parse, clock, logger }));
	}

	head(service: string): PolicyHead | undefined {
		return this.#heads.get(service)?.value;
	}

	/** By name. */
	services(): string[] {
		return [...this.#heads.entries()].map(([service]) => service).sort();
	}

	onChange(listener: (service: string) => void): () => void {
		return this.#heads.onChange(listener);
	}

	/** Undefined: there is none, or it is forgotten. */
	async version(service: string, version: number): Promise<Read<PolicyVersion | undefined>> {
		const found = await this.#store.get(VERSIONS, versionKey(service, version));
		if (found.ok) return { ok: true, value: versionDocument.safeParse(found.value?.value).data };
		// What cannot be a key is the name of no service.
		return found.failure === "invalid" ? { ok: true, value: undefined } : found;
	}

	/** The newest first, as far back as they are kept. */
	async versions(service: string): Promise<Read<readonly PolicyVersion[]>> {
		const numbers = Object.keys(this.head(service)?.hashes ?? {}).map(Number);
		const versions: PolicyVersion[] = [];
		for (const found of await Promise.all(numbers.sort((a, b) => b - a).map((version) => this.version(service, version)))) {
			if (!found.ok) return found;
			if (found.value !== undefined) versions.push(found.value);
		}
		return { ok: true, value: versions };
	}

	/** Checked, and durable when it resolves. A text that is in force already makes no new version. */
	async put(service: string, policy: NewPolicy): Promise<PutOutcome> {
		const { text, expected } = policy;
		if (Buffer.byteLength(JSON.stringify(text)) > POLICY_BYTES_MAX)
			return { ok: false, fault: "too_large", words: `a policy has at most ${POLICY_BYTES_MAX} bytes` };
		for (let tries = 0; tries < TRIES; tries++) {
			const known = this.#heads.get(service);
			const head = known?.value ?? EMPTY_HEAD;
			const refusal = this.#refusal(head, expected);
			if (refusal !== undefined) return refusal;
			if (head.hashes[head.current] === hashOf(text)) return { ok: true, version: head.current, head, isNew: false };
			const version = head.latest + 1;
			const faults = documentFaults({ service, version, text, wallMs: this.#clock.wallMs() });
			if (faults.length > 0) return { ok: false, fault: "bad_policy", faults };
			const { next, writes } = this.#added(service, head, version, policy);
			const outcome = await this.#heads.put(service, next, known?.revision ?? 0, writes);
			if (outcome.ok) return { ok: true, version, head: next, isNew: true };
			if (outcome.failure !== "conflict") return { ok: false, fault: "not_kept", words: outcome.detail };
			// Somebody was faster. On a shared state the mirror may not have heard of it yet.
			await this.#heardOf(service, known?.revision ?? 0);
		}
		return { ok: false, fault: "changed", words: "others change this policy all the time; try again" };
	}

	/** The head as `change` makes it of the present one; undefined as its result, and then as ours: nothing is to be done. */
	async change(service: string, change: (head: PolicyHead) => PolicyHead | undefined): Promise<CommitOutcome | undefined> {
		const known = this.#heads.get(service);
		const next = known && change(known.value);
		return known === undefined || next === undefined ? undefined : this.#heads.put(service, next, known.revision);
	}

	close(): void {
		this.#heads.close();
	}

	#refusal(head: PolicyHead, expected: number | undefined): PutOutcome | undefined {
		if (expected !== undefined && expected !== head.latest) {
			const there = head.latest === 0 ? "there is none" : `the latest is ${head.latest}`;
			return { ok: false, fault: "changed", words: `version ${expected} was expected, and ${there}` };
		}
		if (head.rollout !== null)
			return { ok: false, fault: "under_way", words: `version ${head.rollout.version} is being rolled out; wait for its end, or roll it back` };
		if (head.latest === 0 && this.#heads.size >= SERVICES_MAX)
			return { ok: false, fault: "too_many", words: `there are policies of ${SERVICES_MAX} services already` };
		return undefined;
	}

	#added(
		service: string,
		head: PolicyHead,
		version: number,
		{ text, author, reason, restores, rollout }: NewPolicy,
	): { readonly next: PolicyHead; readonly writes: readonly Write[] } {
		const hash = hashOf(text);
		const staged = head.current === 0 ? undefined : rollout?.(version, head.current);
		const kept = keptVersions(head, version);
		const hashes = Object.fromEntries([...Object.entries(head.hashes).filter(([number]) => kept.has(Number(number))), [String(version), hash]]);
		const record: PolicyVersion = { version, text, hash, author, reason, createdMs: this.#clock.wallMs(), restores: restores ?? null };
		const forgotten = Object.keys(head.hashes).filter((number) => !kept.has(Number(number)));
		return {
			next:
				staged === undefined
					? { ...made(head, version), latest: version, hashes, last: null }
					: { ...head, latest: version, hashes, rollout: staged, last: null },
			writes: [
				put(VERSIONS, versionKey(service, version), record, 0),
				...forgotten.map((number) => remove(VERSIONS, versionKey(service, Number(number)))),
			],
		};
	}

	/** Resolves when the mirror knows something newer, or soon: then there is another try in any case. */
	async #heardOf(service: string, revision: number): Promise<void> {
		if ((this.#heads.get(service)?.revision ?? 0) !== revision) return;
		const { promise, resolve } = Promise.withResolvers<void>();
		const stop = this.#heads.onChange((key) => key === service && resolve());
		const timer = this.#clock.setTimer(HEAR_MS, resolve);
		await promise;
		timer.cancel();
		stop();
	}
}
