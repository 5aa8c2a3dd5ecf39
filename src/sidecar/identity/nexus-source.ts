/**
 * Identity from the authority of Nexus: joins with a token, renews with the certificate that it has, follows the trust bundle, and goes on
 * through whatever becomes of Nexus meanwhile. When a certificate is due is its keeper's matter; what another issuer makes due is seen here.
 */
import { open } from "node:fs/promises";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Rng } from "../../core/rng.ts";
import { ChainMemo } from "../../identity/chain-memo.ts";
import { type JoinToken, readJoinToken } from "../../identity/join-token.ts";
import type { KeyedChain } from "../../identity/keyed-chain.ts";
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import { type AuthorityAnswer, AuthorityClient, type BundleNews, type Issuance } from "./authority-client.ts";
import { IdentityCache } from "./identity-cache.ts";
import type { IdentityEvents, IdentityFault, IdentitySource } from "./identity-source.ts";
import { NexusTrust } from "./nexus-trust.ts";
import { ownCertificateFault } from "./own-certificate.ts";

/** A Nexus that restarts is missed by seconds; one that is away is asked often enough to notice its return, and a new token. */
const RETRY_BASE_MS = 250;
const RETRY_MAX_MS = 10_000;
/** Between two polls, whatever Nexus answers: ten changes a second are told one by one. */
const POLL_GAP_MS = 100;
/** Writing it takes milliseconds; a disk that hangs must not keep a service from its certificate. */
const KEEP_WAIT_MS = 2_000;
/** One of another issuer is replaced soon, but not by all at once. */
const REPLACE_WITHIN_MS = 30_000;
const REPLACE_WITHIN_PART = 0.05;
/** The text of a join token has up to 4 KiB, and white space around it. */
const TOKEN_FILE_BYTES_MAX = 8 * 1024;

export interface NexusSourceOptions {
	/** `nexus.url` */
	readonly url: string;
	/** Absolute paths. */
	readonly tokenFile: string;
	readonly cacheDir: string | undefined;
	readonly self: SpiffeId;
	readonly clock: Clock;
	readonly rng: Rng;
}

/** Faults after which a join token may still help: our certificate is of no use there. */
const TOKEN_MAY_HELP: ReadonlySet<IdentityFault["reason"]> = new Set(["authority_refused", "authority_untrusted"]);

export class NexusSource implements IdentitySource {
	readonly name: string;
	readonly #options: NexusSourceOptions;
	readonly #trust: NexusTrust;
	readonly #client: AuthorityClient;
	readonly #cache: IdentityCache | undefined;
	readonly #memo = new ChainMemo();
	readonly #stop = new AbortController();
	#events: IdentityEvents | undefined;
	#keyed: KeyedChain | undefined;
	#bundle: TrustBundle | undefined;
	/** Fingerprint of the certificate that issues now; "" until Nexus has said so. */
	#issuer = "";
	#renewing: Promise<IdentityFault | undefined> | undefined;
	#replacing = false;
	/** Ends the poll that is under way. */
	#poll = new AbortController();

	/** Throws where the URL is none, or not of https. */
	constructor(options: NexusSourceOptions) {
		const { url, self, clock, cacheDir } = options;
		this.#options = options;
		this.name = `Nexus at ${new URL(url).origin}`;
		this.#trust = new NexusTrust(self, clock);
		this.#client = new AuthorityClient({ url, self, trust: this.#trust, clock });
		this.#cache = cacheDir === undefined ? undefined : new IdentityCache(cacheDir, clock);
	}

	start(events: IdentityEvents): void {
		this.#events = events;
		void this.#run();
	}

	/** One try for all who ask meanwhile. */
	renew(): Promise<IdentityFault | undefined> {
		this.#renewing ??= this.#tryToRenew().finally(() => {
			this.#renewing = undefined;
		});
		return this.#renewing;
	}

	stop(): void {
		this.#events = undefined;
		this.#stop.abort(new Error("the sidecar ends"));
		this.#poll.abort();
		this.#client.reconnect();
	}

	async #run(): Promise<void> {
		await this.#takeFromCache();
		for (let failures = 0; !this.#stop.signal.aborted; ) {
			const fault = this.#isOver() ? await this.renew() : await this.#follow();
			if (fault === undefined) {
				if (failures > 0) this.#events?.onRecovered();
				failures = 0;
			} else {
				failures++;
				this.#events?.onFault(fault);
				await this.#pause(Math.max(fault.retryAfterMs ?? 0, this.#backoffMs(failures)));
			}
		}
	}

	async #takeFromCache(): Promise<void> {
		const cached = await this.#cache?.load();
		if (cached === undefined) return;
		for (const fault of cached.faults) this.#events?.onFault(fault);
		const { keyed, bundle } = cached;
		if (bundle === undefined) return;
		this.#takeBundle(bundle, false);
		// One that has ended, or is another service's, is as good as none: the token has the word.
		if (keyed !== undefined && this.#faultOf(keyed, bundle) === undefined) this.#takeCertificate(keyed);
	}

	/** One poll; a change of certificate ends it early. */
	async #follow(): Promise<IdentityFault | undefined> {
		const keyed = this.#keyed;
		if (keyed === undefined) return undefined;
		const { signal } = this.#poll;
		const answer = await this.#client.poll(keyed, this.#bundle?.version ?? 0, signal);
		if (signal.aborted) {
			this.#poll = new AbortController();
			this.#client.reconnect();
			return undefined;
		}
		// Another authority stands there now: only a token that names its root can tell whether on purpose.
		if (!answer.ok) return answer.fault.reason === "authority_untrusted" ? this.renew() : answer.fault;
		if (answer.value !== undefined) this.#takeNews(answer.value);
		await this.#pause(POLL_GAP_MS);
		return undefined;
	}

	#takeNews({ bundle, issuer }: BundleNews): void {
		// Any other version: a Nexus that was set up anew counts from the beginning.
		if (bundle.version !== this.#bundle?.version) this.#takeBundle(bundle);
		this.#issuer = issuer;
		if (this.#isOfOtherIssuer() && !this.#replacing) void this.#replaceSoon();
	}

	/** A rotation of the authority waits for it. */
	async #replaceSoon(): Promise<void> {
		this.#replacing = true;
		const [leaf] = this.#keyed?.chain ?? [];
		const lifeMs = leaf === undefined ? 0 : leaf.notAfterMs - leaf.notBeforeMs;
		await this.#pause(this.#options.rng() * Math.min(REPLACE_WITHIN_MS, lifeMs * REPLACE_WITHIN_PART));
		for (let failures = 1; this.#isOfOtherIssuer() && !this.#stop.signal.aborted; failures++) {
			const fault = await this.renew();
			if (fault !== undefined) this.#events?.onFault(fault);
			if (this.#isOfOtherIssuer()) await this.#pause(this.#backoffMs(failures));
		}
		this.#replacing = false;
	}

	async #tryToRenew(): Promise<IdentityFault | undefined> {
		const { signal } = this.#stop;
		const keyed = this.#isOver() ? undefined : this.#keyed;
		if (keyed !== undefined) {
			const fault = await this.#take(await this.#client.issue(keyed, signal));
			if (fault === undefined || !TOKEN_MAY_HELP.has(fault.reason)) return fault;
			const other = await this.#join();
			return other === undefined ? undefined : { reason: fault.reason, words: `${fault.words}; and ${other.words}` };
		}
		return this.#join();
	}

	async #join(): Promise<IdentityFault | undefined> {
		const token = await this.#token();
		if (!token.ok) return token.fault;
		const answer = await this.#client.issue(token.value, this.#stop.signal);
		const fault = await this.#take(answer, true);
		if (fault?.reason !== "token_refused") return fault;
		return { reason: fault.reason, words: `${fault.words} (${this.#options.tokenFile}, id ${token.value.id})` };
	}

	/** Read when it is needed: somebody may have put a new one there. */
	async #token(): Promise<AuthorityAnswer<JoinToken>> {
		const { tokenFile, self } = this.#options;
		const refuse = (words: string): AuthorityAnswer<JoinToken> => ({ ok: false, fault: { reason: "token_refused", words } });
		let text: string;
		try {
			text = await readBounded(tokenFile);
		} catch (thrown) {
			return refuse(`the join token cannot be read: ${messageOf(thrown)}; \`nexus token create --service ${self.service}\` makes one`);
		}
		const reading = readJoinToken(text);
		if (!reading.ok) return refuse(`${tokenFile} holds no join token: ${reading.fault}`);
		if (reading.token.service !== self.service)
			return refuse(`the join token in ${tokenFile} is for ${reading.token.service}, and this service is ${self.service}`);
		return { ok: true, value: reading.token };
	}

	async #take(answer: AuthorityAnswer<Issuance>, byToken = false): Promise<IdentityFault | undefined> {
		if (!answer.ok) return answer.fault;
		const { keyed, bundle } = answer.value;
		const known = this.#bundle;
		// A poll may have brought a newer one meanwhile; a Nexus that we have joined anew counts as it likes.
		const isNews = known === undefined || (byToken ? bundle.version !== known.version : bundle.version > known.version);
		const words = this.#faultOf(keyed, isNews ? bundle : known);
		if (words !== undefined) return { reason: "bad_answer", words: `the certificate that Nexus has issued is of no use: ${words}` };
		if (isNews) this.#takeBundle(bundle);
		await this.#keep(keyed);
		this.#takeCertificate(keyed);
		return undefined;
	}

	/** Before it is in use: a process that is killed then would have spent its token on nothing. */
	#keep(keyed: KeyedChain): Promise<void> {
		if (this.#cache === undefined) return Promise.resolve();
		const { promise, resolve } = Promise.withResolvers<void>();
		const timer = this.#options.clock.setTimer(KEEP_WAIT_MS, resolve);
		void this.#cache.saveIdentity(keyed).then((fault) => {
			timer.cancel();
			this.#tell(fault);
			resolve();
		});
		return promise;
	}

	#takeBundle(bundle: TrustBundle, isNew = true): void {
		this.#bundle = bundle;
		this.#trust.bundle = bundle;
		if (isNew) void this.#cache?.saveBundle(bundle).then((fault) => this.#tell(fault));
		if (!this.#client.trusts(bundle)) this.#client.reconnect();
		this.#events?.onBundle(bundle);
	}

	#takeCertificate(keyed: KeyedChain): void {
		this.#keyed = keyed;
		this.#poll.abort();
		this.#events?.onCertificate(keyed);
	}

	#tell(fault: IdentityFault | undefined): void {
		if (fault !== undefined) this.#events?.onFault(fault);
	}

	#faultOf(keyed: KeyedChain, bundle: TrustBundle): string | undefined {
		const { self, clock } = this.#options;
		return ownCertificateFault(keyed, { self, bundle, nowMs: clock.wallMs(), memo: this.#memo });
	}

	/** There is none, or Nexus would not take it any more. */
	#isOver(): boolean {
		const [leaf] = this.#keyed?.chain ?? [];
		return leaf === undefined || this.#options.clock.wallMs() > leaf.notAfterMs;
	}

	#isOfOtherIssuer(): boolean {
		const [leaf, above] = this.#keyed?.chain ?? [];
		if (leaf === undefined || this.#issuer === "") return false;
		const roots = this.#bundle?.roots.get(this.#options.self.trustDomain) ?? [];
		const issuer = above ?? roots.find(({ subject }) => subject.equals(leaf.issuer));
		return issuer?.fingerprint !== this.#issuer;
	}

	#backoffMs(failures: number): number {
		return Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** Math.min(failures - 1, 16)) * (0.5 + this.#options.rng() / 2);
	}

	/** Ends with `stop`, too. */
	#pause(ms: number): Promise<void> {
		const { promise, resolve } = Promise.withResolvers<void>();
		const { signal } = this.#stop;
		if (signal.aborted) return Promise.resolve();
		const end = (): void => {
			timer.cancel();
			signal.removeEventListener("abort", end);
			resolve();
		};
		const timer = this.#options.clock.setTimer(ms, end);
		signal.addEventListener("abort", end);
		return promise;
	}
}

async function readBounded(path: string): Promise<string> {
	const file = await open(path);
	try {
		const { bytesRead, buffer } = await file.read(Buffer.alloc(TOKEN_FILE_BYTES_MAX), 0, TOKEN_FILE_BYTES_MAX, 0);
		return buffer.toString("utf8", 0, bytesRead);
	} finally {
		await file.close();
	}
}
