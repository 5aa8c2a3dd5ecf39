/**
 * The last failures of TLS that differ, with how often each has come: altogether, and since they were told the last time. Bounded whatever
 * peers claim to be.
 */
import { REASONS } from "../../core/reasons.ts";
import type { NexusEventData } from "../../events/catalogue.ts";
import type { TlsRefusal } from "../../identity/tls-refusal.ts";
import type { TlsFailure } from "../../net/tls-cause.ts";
import type { TlsPlace } from "../identity/tls-observer.ts";

/** What a person reads through; a port scan must not become an event for every address. */
const FAILURES_MAX = 32;

/** All that is known of it; "" where something is not. */
export type TlsFailureFacts = Omit<NexusEventData["nexus.mesh.mtls.failure"], "windowMs" | "count">;

export interface CountedTlsFailure extends TlsFailureFacts {
	readonly count: number;
	/** Milliseconds since 1970. */
	readonly firstMs: number;
	readonly lastMs: number;
}

/** SPIFFE IDs as the policy has them, for failures in which nobody came to look at a certificate; "" where there are none. */
export interface KnownIdentities {
	self(): string;
	/** Whom the upstream of this name is meant to be. */
	expected(upstream: string): string;
}

interface Entry {
	/** Undefined: one that stood was cut. */
	place: TlsPlace | undefined;
	failure: TlsFailure | TlsRefusal;
	count: number;
	untold: number;
	firstMs: number;
	lastMs: number;
}

export class TlsFailures {
	readonly #identities: KnownIdentities;
	/** By what makes two of them the same, the one that came last at the end. */
	readonly #entries = new Map<string, Entry>();
	#others = 0;

	constructor(identities: KnownIdentities) {
		this.#identities = identities;
	}

	add(place: TlsPlace | undefined, failure: TlsFailure | TlsRefusal, wallMs: number): void {
		const key = `${place?.direction} ${place?.name} ${failure.reason} ${"peer" in failure ? failure.peer : ""}`;
		let entry = this.#entries.get(key);
		if (entry !== undefined) this.#entries.delete(key);
		else if (this.#makeRoom()) entry = { place, failure, count: 0, untold: 0, firstMs: wallMs, lastMs: wallMs };
		else {
			this.#others++;
			return;
		}
		this.#entries.set(key, entry);
		entry.place = place;
		entry.failure = failure;
		entry.count++;
		entry.untold++;
		entry.lastMs = wallMs;
	}

	/** The latest first. */
	list(): CountedTlsFailure[] {
		return Array.from(this.#entries.values(), (entry) => ({
			...this.#facts(entry),
			count: entry.count,
			firstMs: entry.firstMs,
			lastMs: entry.lastMs,
		})).reverse();
	}

	/** What has come since the last call, and how many there were beyond that. */
	takeUntold(): { readonly failures: readonly { readonly facts: TlsFailureFacts; readonly count: number }[]; readonly others: number } {
		const failures = [];
		for (const entry of this.#entries.values()) {
			if (entry.untold === 0) continue;
			failures.push({ facts: this.#facts(entry), count: entry.untold });
			entry.untold = 0;
		}
		const others = this.#others;
		this.#others = 0;
		return { failures, others };
	}

	/** By forgetting the one that is longest ago, unless it has not been told yet; then none has. */
	#makeRoom(): boolean {
		if (this.#entries.size < FAILURES_MAX) return true;
		for (const [key, { untold }] of this.#entries) {
			if (untold === 0) this.#entries.delete(key);
			return untold === 0;
		}
		return false;
	}

	#facts({ place, failure }: Entry): TlsFailureFacts {
		const { reason, words } = failure;
		const common = {
			kind: place === undefined ? ("cut" as const) : ("connection" as const),
			direction: place?.direction ?? ("" as const),
			name: place?.name ?? "",
			reason,
			words,
			address: place?.address ?? "",
		};
		if ("hint" in failure) {
			const { hint, self, expected, peer, role, subject, issuer, serial, notBefore, notAfter } = failure;
			return { ...common, hint, endedBy: "us", self, expected, peer, role, subject, issuer, serial, notBefore, notAfter };
		}
		return {
			...common,
			hint: REASONS[reason].hint,
			endedBy: failure.endedBy,
			self: this.#identities.self(),
			expected: place?.direction === "outbound" ? this.#identities.expected(place.name) : "",
			peer: "",
			...NO_CERTIFICATE,
		};
	}
}

export const NO_CERTIFICATE = Object.freeze({ role: "", subject: "", issuer: "", serial: "", notBefore: "", notAfter: "" } as const);
