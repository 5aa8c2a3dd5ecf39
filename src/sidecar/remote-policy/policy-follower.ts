/**
 * Follows the policy that Nexus has for this service: says what runs, waits for something else, hands that over, and says what became of it. Goes
 * on through whatever becomes of Nexus meanwhile.
 */
import * as z from "zod/mini";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { PolicyFault } from "../../policy/fault.ts";
import type { RemotePolicy } from "../../policy/kept-copy.ts";
import { placeText } from "../../policy/place-text.ts";
import type { NexusLink } from "./nexus-link.ts";
import { backoffMs, pause } from "./patience.ts";
import { PolicyCache } from "./policy-cache.ts";

/** Shorter than what middle boxes forget connections after. */
const WAIT_S = 30;
const TIMEOUT_MS = (WAIT_S + 10) * 1000;
/** Between two calls, whatever Nexus answers. */
const GAP_MS = 100;
/** Nexus takes no more, and nobody reads more. */
const FAULTS_MAX = 20;
const WORDS_CHARS_MAX = 600;

const ANSWER = z.object({
	version: z.number().check(z.int(), z.nonnegative()),
	tag: z.string().check(z.maxLength(64)),
	policy: z.nullable(z.string()),
	author: z.string(),
	reason: z.string(),
});

export interface PolicyFollowerOptions {
	readonly link: NexusLink;
	readonly service: string;
	readonly instance: string;
	readonly cacheDir: string | undefined;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
}

/** Makes it live; faults where it is not taken, and nothing has changed. */
export type Take = (policy: RemotePolicy) => Promise<readonly PolicyFault[]>;

interface Rejected {
	readonly version: number;
	readonly faults: readonly { readonly place: string; readonly message: string; readonly hint: string }[];
}

export class PolicyFollower {
	readonly #options: PolicyFollowerOptions;
	readonly #cache: PolicyCache | undefined;
	readonly #stop = new AbortController();
	/** Tag of what Nexus has answered last. */
	#have = "";
	#running = { version: 0, sinceMs: 0 };
	#rejected: Rejected | undefined;
	#waitsFor = "Nexus has not answered yet";
	#told = "";

	constructor(options: PolicyFollowerOptions) {
		this.#options = options;
		const { cacheDir, service } = options;
		this.#cache = cacheDir === undefined ? undefined : new PolicyCache(cacheDir, service);
	}

	/** Why there is no policy to begin with. */
	get waitsFor(): string {
		return this.#waitsFor;
	}

	/**
	 * The policy to begin with, and from then on each one that follows: of the cache, else of Nexus, however long that takes: without the rules that
	 * stand there, nobody may be let in. Resolves when one was taken, or Nexus has none; after `stop`, too.
	 */
	async start(take: Take): Promise<void> {
		const isCached = await this.#takeCached(take);
		if (isCached) {
			void this.#follow(take);
			return;
		}
		const { promise, resolve } = Promise.withResolvers<void>();
		void this.#follow(take, resolve).finally(resolve);
		await promise;
	}

	stop(): void {
		this.#stop.abort();
	}

	async #takeCached(take: Take): Promise<boolean> {
		const { log } = this.#options;
		const reading = await this.#cache?.load();
		if (reading?.kind === "refused") log.error("the policy that was kept is not used", { error: reading.words });
		if (reading?.kind !== "policy") return false;
		const { policy } = reading;
		const isTaken = await this.#hand(policy, take);
		if (isTaken) log.info("begins with the policy of Nexus that was kept", { nexusVersion: policy.version });
		return isTaken;
	}

	async #follow(take: Take, onSettled?: () => void): Promise<void> {
		const { clock, rng } = this.#options;
		const { signal } = this.#stop;
		for (let failures = 0; !signal.aborted; ) {
			const outcome = await this.#sync();
			if (signal.aborted) return;
			if ("words" in outcome) {
				failures++;
				this.#tell(outcome.words);
				await pause(Math.max(outcome.retryAfterMs, backoffMs(failures, rng)), clock, signal);
				continue;
			}
			failures = 0;
			this.#tell("");
			const { answer } = outcome;
			if (answer !== undefined && (await this.#answered(answer, take))) onSettled?.();
			await pause(GAP_MS, clock, signal);
		}
	}

	/** What has come; undefined: nothing else within the time. */
	async #sync(): Promise<{ readonly answer: z.output<typeof ANSWER> | undefined } | { readonly words: string; readonly retryAfterMs: number }> {
		const { link, service, instance } = this.#options;
		const outcome = await link.request({
			method: "POST",
			path: `/v1/policies/${service}/sync`,
			body: {
				instance,
				have: this.#have,
				running: this.#running.version,
				sinceMs: this.#running.sinceMs,
				rejected: this.#rejected ?? null,
				wait: `${WAIT_S}s`,
			},
			timeoutMs: TIMEOUT_MS,
			signal: this.#stop.signal,
		});
		if (!outcome.ok) return outcome;
		if (outcome.status === 204) return { answer: undefined };
		const answer = ANSWER.safeParse(outcome.body);
		return answer.success ? { answer: answer.data } : { words: "the answer about the policy has not the form of one", retryAfterMs: 0 };
	}

	/** Whether there is something to run with now. */
	async #answered({ version, tag, policy: text, author, reason }: z.output<typeof ANSWER>, take: Take): Promise<boolean> {
		const { log } = this.#options;
		this.#have = tag;
		if (version === 0 || text === null) {
			// A Nexus that has lost its data says the same: rules are not dropped for that.
			if (this.#running.version > 0)
				log.warn("Nexus has no policy for this service any more; the last good one stays", { nexusVersion: this.#running.version });
			return true;
		}
		const policy: RemotePolicy = { version, tag, text, author, reason };
		if (!(await this.#hand(policy, take))) return this.#running.version > 0;
		const fault = await this.#cache?.save(policy);
		if (fault !== undefined) log.error("the last good policy could not be kept", { error: fault });
		return true;
	}

	async #hand(policy: RemotePolicy, take: Take): Promise<boolean> {
		const faults = await take(policy);
		if (faults.length > 0) {
			this.#rejected = { version: policy.version, faults: faults.slice(0, FAULTS_MAX).map(shownFault) };
			const [first] = this.#rejected.faults;
			this.#waitsFor = `version ${policy.version} is refused: ${first?.place} ${first?.message}`;
			return false;
		}
		this.#have = policy.tag;
		this.#rejected = undefined;
		this.#running = { version: policy.version, sinceMs: this.#options.clock.wallMs() };
		return true;
	}

	/** Once for each trouble, and once when it is over. */
	#tell(words: string): void {
		if (words === this.#told) return;
		const { log } = this.#options;
		if (words === "") log.info("Nexus can be asked for the policy again");
		else log.warn("the policy of Nexus cannot be followed; what runs stays", { error: words });
		this.#told = words;
		if (words !== "" && this.#rejected === undefined) this.#waitsFor = words;
	}
}

function shownFault({ place, message, hint }: PolicyFault): Rejected["faults"][number] {
	const cut = (words: string): string => words.slice(0, WORDS_CHARS_MAX);
	return { place: cut(placeText(place)), message: cut(message), hint: cut(hint) };
}
