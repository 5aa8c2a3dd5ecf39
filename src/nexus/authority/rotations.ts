/**
 * Replaces the intermediate, or root and intermediate, while the mesh runs: the new root is made known, then the new intermediate issues, then
 * the old ones are trusted no more; each step once nobody is hurt by it. Each is on disk before it takes effect, and goes on after a restart.
 */
import type { Clock, Timer } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { AuthorityDir } from "../../identity/authority-dir.ts";
import type { Certificate } from "../../identity/certificate.ts";
import { loadAuthority, type NextAuthority, promoteNext, trustNext, writeNext } from "./authority-files.ts";
import { type IdentityState, nextVersion, type RotationState } from "./identity-state.ts";
import { createAuthority, createIntermediate, type Issuer } from "./issuer.ts";
import type { OwnCertificate } from "./own-certificate.ts";
import { type Hindrance, hindrances } from "./rotation-plan.ts";
import type { NotKept, StateFile } from "./state-file.ts";
import type { Trust } from "./trust.ts";
import type { Workloads } from "./workloads.ts";

/** Acknowledgements come in crowds; one look for all of them. */
const LOOK_SOON_MS = 50;
/** Certificates end by themselves, which nobody tells. */
const LOOK_MS = 1_000;
/** How long an idle one looks whether the intermediate should be replaced. */
const LOOK_IDLE_MS = 3_600_000;
/** After a start nobody has been heard yet: a poll lasts a minute at most, and who finds us gone comes again within half a minute. */
const PATIENCE_MS = 90_000;
/** Of the life of the intermediate, as of every certificate here. */
const RENEW_INTERMEDIATE_AT = 0.7;

export interface RotationsOptions {
	readonly dirPath: string;
	readonly dir: AuthorityDir;
	/** Of the rotation that was under way. */
	readonly next: NextAuthority | undefined;
	readonly state: StateFile;
	readonly clock: Clock;
	readonly logger: Logger;
	readonly workloads: Workloads;
	readonly issuer: Issuer;
	readonly own: OwnCertificate;
	readonly certificateTtlMs: number;
}

export interface RotationRefused {
	readonly fault: "under_way" | "no_root_key";
	readonly words: string;
}

export class Rotations {
	readonly #options: RotationsOptions;
	readonly #patientUntilMs: number;
	#dir: AuthorityDir;
	#next: NextAuthority | undefined;
	#trust: Trust | undefined;
	#timer: Timer | undefined;
	#timerAtMs = Number.POSITIVE_INFINITY;
	#last: Promise<unknown> = Promise.resolve();
	#isClosed = false;

	constructor(options: RotationsOptions) {
		this.#options = options;
		this.#dir = options.dir;
		this.#next = options.next;
		this.#patientUntilMs = options.clock.monotonicMs() + Math.min(PATIENCE_MS, options.certificateTtlMs);
	}

	get dir(): AuthorityDir {
		return this.#dir;
	}

	get next(): NextAuthority | undefined {
		return this.#next;
	}

	/** Those in ca.pem, and the one to come, which may not be written there yet. */
	get roots(): readonly Certificate[] {
		const root = this.#next?.root;
		const { roots } = this.#dir;
		return root === undefined || roots.some(({ fingerprint }) => fingerprint === root.fingerprint) ? roots : [...roots, root];
	}

	/** The one above what issues now. */
	get issuingRoot(): Certificate {
		return (this.#options.state.current.rotation?.step === "issue" ? this.#next?.root : undefined) ?? this.#dir.roots[0];
	}

	start(trust: Trust): void {
		this.#trust = trust;
		this.#lookIn(LOOK_SOON_MS);
	}

	/** What the rotation under way waits for. */
	hindrances(): Hindrance[] {
		const { rotation } = this.#options.state.current;
		const bundle = this.#trust?.now.bundle;
		if (rotation === null || bundle === undefined) return [];
		return hindrances(rotation, {
			workloads: this.#options.workloads.all,
			nowMs: this.#options.clock.wallMs(),
			isDenied: ({ identity, leaf }) => bundle.isDeniedSerial(leaf.serial) || bundle.isDeniedIdentity(identity),
		});
	}

	/** Until then nothing goes on, as nobody has been heard since the start. Milliseconds. */
	get patienceLeftMs(): number {
		return Math.max(0, this.#patientUntilMs - this.#options.clock.monotonicMs());
	}

	/** Something has changed that a rotation may have waited for. */
	touched(): void {
		if (this.#options.state.current.rotation !== null) this.#lookIn(LOOK_SOON_MS);
	}

	/** Resolves once it has begun, and will go on by itself. */
	begin(what: RotationState["what"]): Promise<RotationRefused | NotKept | undefined> {
		return this.#serially(() => this.#begin(what));
	}

	/** Sends out what the state says now. */
	publish(): void {
		this.#trust?.publish(this.view());
	}

	view(): { trustDomain: string; roots: readonly Certificate[]; issuer: string; state: IdentityState } {
		const { issuer, state } = this.#options;
		return { trustDomain: this.#dir.trustDomain, roots: this.roots, issuer: issuer.authority.certificate.fingerprint, state: state.current };
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		this.#timer?.cancel();
		await this.#last;
	}

	async #begin(what: RotationState["what"]): Promise<RotationRefused | NotKept | undefined> {
		const { state, clock, dirPath, logger } = this.#options;
		if (state.current.rotation !== null)
			return { fault: "under_way", words: "a rotation is under way already; GET /v1/authority shows what it waits for" };
		const options = { trustDomain: this.#dir.trustDomain, nowMs: clock.wallMs() };
		const { root } = this.#dir;
		if (what === "intermediate" && root === undefined) {
			return {
				fault: "no_root_key",
				words: `an intermediate is signed by the root, and its key (root.key) is not in ${dirPath}; put it there, or rotate the root`,
			};
		}
		const made =
			what === "root" || root === undefined
				? await createAuthority(options)
				: { root: undefined, intermediate: await createIntermediate(root, options) };
		try {
			await writeNext(dirPath, made.root === undefined ? { intermediate: made.intermediate } : { root: made.root, intermediate: made.intermediate });
		} catch (thrown) {
			return { fault: "not_kept", words: `the new authority cannot be written: ${messageOf(thrown)}` };
		}
		const fault = await state.change<never>((before) => {
			const version = nextVersion(before.version, clock.wallMs());
			const startedMs = clock.wallMs();
			const next = made.intermediate.certificate.fingerprint;
			return { ...before, version, rotation: { what, step: what === "root" ? "add" : "issue", version, startedMs, stepMs: startedMs, next } };
		});
		if (fault !== undefined) return fault;
		this.#next = { root: made.root?.certificate, intermediate: made.intermediate };
		logger.info("a rotation has begun", { what, next: made.intermediate.certificate.serial });
		if (what === "root") {
			this.publish();
			await this.#tryTo("write the new root into ca.pem", () => trustNext(dirPath, this.#next as NextAuthority));
		} else await this.#issueFromNext();
		this.touched();
		return undefined;
	}

	async #issueFromNext(): Promise<void> {
		const { issuer, own, logger } = this.#options;
		if (this.#next !== undefined) issuer.authority = this.#next.intermediate;
		this.publish();
		const fault = await own.renew();
		if (fault !== undefined) logger.warn("Nexus could not renew its own certificate; it tries again", { error: fault });
	}

	async #look(): Promise<void> {
		const { state, clock } = this.#options;
		const { rotation } = state.current;
		if (rotation === null) {
			await this.#renewIntermediateInTime();
			this.#lookIn(state.current.rotation === null ? LOOK_IDLE_MS : LOOK_SOON_MS);
			return;
		}
		if (this.patienceLeftMs === 0 && this.hindrances().length === 0) await this.#goOn(rotation);
		this.#options.workloads.prune(clock.wallMs());
		const { rotation: after } = state.current;
		this.#lookIn(after === null ? LOOK_IDLE_MS : after.step === rotation.step ? LOOK_MS : LOOK_SOON_MS);
	}

	async #goOn(rotation: RotationState): Promise<void> {
		const { own } = this.#options;
		if (rotation.step === "add") {
			if (await this.#enter(rotation, "issue")) await this.#issueFromNext();
			return;
		}
		if (rotation.step === "issue") {
			// We are one of those who must have a certificate of the new issuer.
			if (own.issuer !== rotation.next && (await own.renew()) !== undefined) return;
			if (!(await this.#enter(rotation, "retire"))) return;
		}
		await this.#retire();
	}

	async #enter(rotation: RotationState, step: RotationState["step"]): Promise<boolean> {
		const { state, clock, logger } = this.#options;
		const fault = await state.change<never>((before) => {
			// Nothing is to be acknowledged for the last step, so it needs no version of its own before it is done.
			const version = step === "retire" ? before.version : nextVersion(before.version, clock.wallMs());
			return { ...before, version, rotation: { ...rotation, step, version, stepMs: clock.wallMs() } };
		});
		if (fault !== undefined) logger.error("a rotation cannot go on", { error: fault.words });
		else logger.info("a rotation goes on", { what: rotation.what, step });
		return fault === undefined;
	}

	async #retire(): Promise<void> {
		const { state, clock, dirPath, logger } = this.#options;
		const isDone = await this.#tryTo("put the new authority in the place of the old one", async () => {
			await promoteNext(dirPath);
			this.#dir = await loadAuthority(dirPath);
		});
		if (!isDone) return;
		const fault = await state.change<never>((before) => ({ ...before, version: nextVersion(before.version, clock.wallMs()), rotation: null }));
		if (fault !== undefined) {
			logger.error("a rotation cannot end", { error: fault.words });
			return;
		}
		this.#next = undefined;
		this.publish();
		logger.info("a rotation is done", { issuer: this.#dir.intermediate.certificate.serial, root: this.#dir.roots[0].serial });
	}

	/** A year is over before somebody thinks of it. */
	async #renewIntermediateInTime(): Promise<void> {
		const { clock, logger } = this.#options;
		const { notBeforeMs, notAfterMs, serial } = this.#dir.intermediate.certificate;
		if (clock.wallMs() < notBeforeMs + (notAfterMs - notBeforeMs) * RENEW_INTERMEDIATE_AT) return;
		const fault = await this.#begin("intermediate");
		const fields = { serial, notAfter: new Date(notAfterMs).toISOString() };
		if (fault === undefined) logger.info("the intermediate is replaced by itself, as its end comes near", fields);
		else logger.warn("the intermediate ends, and cannot be replaced", { ...fields, error: fault.words });
	}

	async #tryTo(what: string, work: () => Promise<void>): Promise<boolean> {
		try {
			await work();
			return true;
		} catch (thrown) {
			this.#options.logger.error(`a rotation could not ${what}; it tries again`, { error: messageOf(thrown) });
			return false;
		}
	}

	#lookIn(delayMs: number): void {
		const { clock, logger } = this.#options;
		const atMs = clock.monotonicMs() + delayMs;
		if (this.#isClosed || (this.#timer !== undefined && this.#timerAtMs <= atMs)) return;
		this.#timer?.cancel();
		this.#timerAtMs = atMs;
		this.#timer = clock.setTimer(delayMs, () => {
			this.#timer = undefined;
			this.#serially(() => this.#look()).catch((thrown: unknown) => logger.error("a rotation met a fault of ours", { error: messageOf(thrown) }));
		});
	}

	#serially<T>(work: () => Promise<T>): Promise<T> {
		const done = this.#last.then(work);
		this.#last = done.catch(() => {});
		return done;
	}
}
