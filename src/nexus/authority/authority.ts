/** The certificate authority of a mesh as one thing: who gets a certificate, what is trusted and what is denied, and what is known of all that. */
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Rng } from "../../core/rng.ts";
import type { JoinToken } from "../../identity/join-token.ts";
import { chainPem } from "../../identity/keyed-chain.ts";
import { type SpiffeId, spiffeIdOf } from "../../identity/spiffe-id.ts";
import type { TrustBundleDocument } from "../../identity/trust-bundle.ts";
import type { VerifiedPeer } from "../../identity/verify-chain.ts";
import type { Tokens, TokenUse } from "../access/tokens.ts";
import { loadAuthority, loadNext, type NextAuthority, promoteNext, removeNext, trustNext } from "./authority-files.ts";
import { type AuthorityStatus, authorityStatus } from "./authority-status.ts";
import { BundlePolls } from "./bundle-polls.ts";
import { type Denial, type DenialRefused, withDenial, withoutDenial } from "./denials.ts";
import { type IdentityState, NEXUS_SERVICE, nextVersion, type RotationState } from "./identity-state.ts";
import { Issuer } from "./issuer.ts";
import { IssuingQueue } from "./issuing-queue.ts";
import { OwnCertificate } from "./own-certificate.ts";
import { type RotationRefused, Rotations } from "./rotations.ts";
import type { NotKept, StateFile } from "./state-file.ts";
import { Trust } from "./trust.ts";
import { WorkloadFile } from "./workload-file.ts";
import { leafOf, Workloads } from "./workloads.ts";

export interface AuthorityOptions {
	readonly dir: string;
	/** 1 s to 24 h. */
	readonly certificateTtlMs: number;
	readonly dataDir: string;
	/** Besides `nexus` and `localhost`, the names of Nexus. */
	readonly dnsNames: readonly string[];
	/** Of Nexus, besides loopback. */
	readonly addresses: readonly string[];
	readonly state: StateFile;
	readonly tokens: Tokens;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly logger: Logger;
}

/** Who asks for a certificate. */
export type Applicant = { readonly kind: "token"; readonly token: JoinToken } | { readonly kind: "peer"; readonly peer: VerifiedPeer };

export interface Granted {
	readonly ok: true;
	/** PEM, leaf first. */
	readonly certificate: string;
	readonly bundle: TrustBundleDocument;
}

export interface NotGranted {
	readonly ok: false;
	readonly fault: "unauthenticated" | "unauthorized" | "bad_request" | "no_authority" | "overloaded" | "not_kept";
	readonly words: string;
}

interface Parts {
	readonly rotations: Rotations;
	readonly trust: Trust;
	readonly issuer: Issuer;
	readonly own: OwnCertificate;
	readonly workloads: Workloads;
	readonly file: WorkloadFile;
}

export class Authority {
	readonly trust: Trust;
	readonly own: OwnCertificate;
	readonly polls: BundlePolls;
	readonly #options: AuthorityOptions;
	readonly #parts: Parts;
	readonly #queue: IssuingQueue;
	readonly #counts = { issued: 0, refused: 0 };

	private constructor(options: AuthorityOptions, parts: Parts) {
		this.#options = options;
		this.#parts = parts;
		this.trust = parts.trust;
		this.own = parts.own;
		this.polls = new BundlePolls(options.clock);
		this.#queue = new IssuingQueue(options.clock);
		this.trust.onChange(() => this.polls.changed(this.trust.now.bundle.version));
		parts.rotations.start(parts.trust);
	}

	/** Goes on with a rotation that was cut off. Throws a readable error where the folder cannot be used. */
	static async open(options: AuthorityOptions): Promise<Authority> {
		const { clock, rng, logger, certificateTtlMs, state } = options;
		const next = await recovered(options);
		const dir = await loadAuthority(options.dir);
		const id = idOf(dir.trustDomain, NEXUS_SERVICE);
		const fault = await state.change<never>((before) => ({ ...before, version: nextVersion(before.version, clock.wallMs()) }));
		if (fault !== undefined) throw new Error(fault.words);
		const isNextIssuing = state.current.rotation?.step === "issue" && next !== undefined;
		const issuer = new Issuer({ clock, certificateTtlMs, authority: isNextIssuing ? next.intermediate : dir.intermediate });
		const workloads = new Workloads();
		const file = new WorkloadFile(join(options.dataDir, "workloads.json"), workloads, clock, logger);
		await file.load();
		const dnsNames = [...new Set([NEXUS_SERVICE, "localhost", ...options.dnsNames])];
		const addresses = [...new Set(["127.0.0.1", "::1", ...options.addresses])];
		const own = new OwnCertificate({ id, dnsNames, addresses, issuer, root: () => rotations.issuingRoot, clock, rng, logger });
		const rotations: Rotations = new Rotations({ ...options, dirPath: options.dir, dir, next, workloads, issuer, own });
		const renewal = await own.renew();
		if (renewal !== undefined) throw new Error(`the authority in ${options.dir} cannot issue a certificate for Nexus: ${renewal}`);
		const trust = new Trust(rotations.view(), id.uri, clock);
		return new Authority(options, { rotations, trust, issuer, own, workloads, file });
	}

	/** Since start, for metrics. */
	get counts(): { readonly issued: number; readonly refused: number } {
		return this.#counts;
	}

	get trustDomain(): string {
		return this.#parts.rotations.dir.trustDomain;
	}

	/** Fingerprint for join tokens: of the root above what Nexus shows now. */
	get rootFingerprint(): string {
		return this.#parts.rotations.issuingRoot.fingerprint;
	}

	/** `request`: PKCS #10, DER, from anybody. A use of a token is spent only when a certificate was issued. */
	async issue(request: Uint8Array, applicant: Applicant, address: string): Promise<Granted | NotGranted> {
		const outcome = await this.#issue(request, applicant, address);
		if (outcome.ok) this.#counts.issued++;
		else this.#counts.refused++;
		return outcome;
	}

	/** A verified caller was here. `version`: the bundle that it says to have. */
	seen(peer: VerifiedPeer, address: string, version?: number): void {
		const { workloads, file, rotations } = this.#parts;
		if (peer.id.service === NEXUS_SERVICE) return;
		workloads.seen(peer.id.uri, leafOf(peer), address, this.#options.clock.wallMs(), version);
		file.touch();
		rotations.touched();
	}

	/** Whether the caller should come again on a new connection, to show the certificate that it was given since; true once. */
	callAgain(peer: VerifiedPeer): boolean {
		return this.#parts.workloads.callAgain(peer.leaf.serial);
	}

	async deny(denial: Denial): Promise<DenialRefused | NotKept | undefined> {
		const { workloads, rotations, own } = this.#parts;
		const { dir, next } = rotations;
		const untouchable = [own.leaf, dir.intermediate.certificate, ...rotations.roots, next?.intermediate.certificate].map(
			(each) => each?.serial ?? "",
		);
		const nowMs = this.#options.clock.wallMs();
		return this.#changeDenied((state) =>
			withDenial(state, denial, { nowMs, untouchable, self: idOf(this.trustDomain, NEXUS_SERVICE).uri, workloads }),
		);
	}

	allow(denial: Denial): Promise<DenialRefused | NotKept | undefined> {
		return this.#changeDenied((state) => withoutDenial(state, denial));
	}

	async rotate(what: RotationState["what"]): Promise<RotationRefused | NotKept | undefined> {
		return this.#parts.rotations.begin(what);
	}

	status(): AuthorityStatus {
		const { rotations, workloads } = this.#parts;
		return authorityStatus({
			rotations,
			workloads,
			state: this.#options.state.current,
			published: this.trust.now,
			certificateTtlMs: this.#options.certificateTtlMs,
		});
	}

	/** Those who wait are answered. */
	endPolls(): void {
		this.polls.close();
		this.#queue.close();
	}

	async close(): Promise<void> {
		this.endPolls();
		this.own.close();
		await this.#parts.rotations.close();
		await this.#parts.file.close();
		await this.#options.state.settled();
	}

	async #issue(request: Uint8Array, applicant: Applicant, address: string): Promise<Granted | NotGranted> {
		if (applicant.kind === "peer") {
			const { id } = applicant.peer;
			if (id.trustDomain !== this.trustDomain || id.service === NEXUS_SERVICE) {
				return { ok: false, fault: "unauthorized", words: `certificates of ${id.uri} are not renewed here` };
			}
			return this.#issueTo(id, request, applicant.peer, address);
		}
		const use = this.#options.tokens.holdJoin(applicant.token);
		if (!use.ok) return { ok: false, fault: "unauthenticated", words: use.words };
		try {
			return await this.#issueTo(idOf(this.trustDomain, use.service), request, undefined, address, () => use.spend());
		} finally {
			use.giveBack();
		}
	}

	async #issueTo(
		id: SpiffeId,
		request: Uint8Array,
		renews: VerifiedPeer | undefined,
		address: string,
		spend?: TokenUse["spend"],
	): Promise<Granted | NotGranted> {
		const { issuer, workloads, file, rotations } = this.#parts;
		const { clock, logger } = this.#options;
		const refused = this.#refusalOf(id, renews);
		if (refused !== undefined) return refused;
		let by = "";
		const issued = await this.#queue.run(id.uri, () => {
			by = issuer.authority.certificate.fingerprint;
			return issuer.issue(id, request);
		});
		if (issued === undefined) return { ok: false, fault: "overloaded", words: "more certificates are asked for than can be issued" };
		if (!issued.ok) {
			const fault = issued.fault === "identity_mismatch" ? "unauthorized" : issued.fault === "request_refused" ? "bad_request" : "no_authority";
			return { ok: false, fault, words: issued.words };
		}
		// It may have waited for seconds, in which it was denied.
		const denied = this.#refusalOf(id, renews);
		if (denied !== undefined) return denied;
		const unspent = await spend?.();
		if (unspent !== undefined) return { ok: false, fault: UNSPENT[unspent.fault], words: unspent.words };
		const [certificate] = issued.chain;
		if (certificate === undefined) throw new Error("a certificate was issued without itself");
		const { serial, notAfterMs } = certificate;
		workloads.issued(id.uri, { serial, issuer: by, notAfterMs }, renews && leafOf(renews), address, clock.wallMs());
		file.touch();
		rotations.touched();
		logger.info("a certificate was issued", { identity: id.uri, serial, address, renewal: renews !== undefined });
		return { ok: true, certificate: chainPem(issued.chain), bundle: this.trust.now.document };
	}

	#refusalOf(id: SpiffeId, renews: VerifiedPeer | undefined): NotGranted | undefined {
		const { bundle } = this.trust.now;
		const words = bundle.isDeniedIdentity(id.uri) ? `${id.uri} is on the deny list` : renews && this.trust.recheck(renews)?.words;
		return words === undefined ? undefined : { ok: false, fault: "unauthorized", words };
	}

	async #changeDenied(change: (state: IdentityState) => IdentityState | DenialRefused): Promise<DenialRefused | NotKept | undefined> {
		const { state, clock } = this.#options;
		let isSame = false;
		const fault = await state.change<DenialRefused>((before) => {
			const after = change(before);
			isSame = after === before;
			return "fault" in after || isSame ? after : { ...after, version: nextVersion(before.version, clock.wallMs()) };
		});
		if (fault !== undefined || isSame) return fault;
		this.#parts.rotations.publish();
		this.#parts.rotations.touched();
		return undefined;
	}
}

const UNSPENT = { not_kept: "not_kept", unavailable: "overloaded", used_up: "unauthenticated" } as const;

/** What comes next, of a rotation that was cut off and goes on. */
async function recovered({ dir, state, logger }: AuthorityOptions): Promise<NextAuthority | undefined> {
	const { rotation } = state.current;
	if (rotation === null) {
		await removeNext(dir);
		return undefined;
	}
	if (rotation.step === "retire") {
		await promoteNext(dir);
		await ended(state);
		return undefined;
	}
	try {
		const next = await loadNext(dir);
		await trustNext(dir, next);
		return next;
	} catch (thrown) {
		logger.error("the rotation under way is given up, as what comes next cannot be read; begin another one", { error: messageOf(thrown) });
		await ended(state);
		return undefined;
	}
}

async function ended(state: StateFile): Promise<void> {
	const fault = await state.change<never>((before) => ({ ...before, rotation: null }));
	if (fault !== undefined) throw new Error(fault.words);
}

function idOf(trustDomain: string, service: string): SpiffeId {
	const reading = spiffeIdOf(trustDomain, service);
	if (!reading.ok) throw new Error(`${service} is no service of ${trustDomain}`);
	return reading.id;
}
