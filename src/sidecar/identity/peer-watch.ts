/**
 * Which connections rest on a peer's certificate: they are ended in good order before it ends, and at once when the peer is not trusted any more.
 */
import type { Clock, Timer } from "../../core/clock.ts";
import { CLOCK_SKEW_MS } from "../../identity/path-rules.ts";
import type { TlsRefusal } from "../../identity/tls-refusal.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import { recheckPeer, type VerifiedPeer } from "../../identity/verify-chain.ts";

/** Of what was left of the certificate when the connection began: from then on it takes no further request. */
const RETIRE_PART = 0.1;
/** What little is left of a short one must still be time enough to leave in: so much, or a quarter of what is left. */
const RETIRE_MIN_MS = 500;
/** Requests end within seconds; a day's certificate need not give up two hours of its life. */
const RETIRE_MAX_MS = 5 * 60_000;
/** Of the margin: connections that began together do not end together, which would be a handshake for each at once. */
const SPREAD = 0.5;
/** Each step lands far from the ones before (the golden ratio). */
const SPREAD_STEP = 0.618_034;
/**
 * Who came from an authority that is trusted no more was let in rightly, and comes from another by now where that is a rotation: its connections
 * end in good order, within this. Who is on the deny list is cut at once.
 */
const FORMER_ROOT_MS = 5_000;
/** In this time they are asked to leave, one after the other. */
const FORMER_ROOT_LEAVE_MS = 4_000;
/** How late a jump of the wall clock is seen at most. */
const LOOK_MS = 30_000;

/** A connection whose peer was verified. */
export interface PeeredConnection {
	readonly peer: VerifiedPeer | undefined;
	/** No further request; what is under way ends as it would. Idempotent. */
	retire(): void;
	/** Closed at once. */
	cut(): void;
}

interface Entry {
	retireAtMs: number;
	endsAtMs: number;
	retired: boolean;
	/** Why it will be cut, where its peer is not trusted any more. */
	refusal: TlsRefusal | undefined;
}

export interface PeerWatchOptions {
	readonly clock: Clock;
	/** SPIFFE ID of ours. */
	readonly self: string;
	/** A connection was cut because its peer is not trusted any more. */
	readonly onCut: (refusal: TlsRefusal) => void;
}

export class PeerWatch {
	readonly #options: PeerWatchOptions;
	readonly #entries = new Map<PeeredConnection, Entry>();
	#timer: Timer | undefined;
	#nextMs = Number.POSITIVE_INFINITY;
	/** 0..1 */
	#spread = 0;

	constructor(options: PeerWatchOptions) {
		this.#options = options;
	}

	get size(): number {
		return this.#entries.size;
	}

	/**
	 * `untilMs`: wall time at which the first certificate that the connection rests on ends. `early`: how many times the usual margin before
	 * that it is retired; who calls leaves before who is called hangs up, so that no request crosses a close.
	 */
	add(connection: PeeredConnection, untilMs: number, early: 1 | 2): void {
		const nowMs = this.#options.clock.wallMs();
		const leftMs = Math.max(0, untilMs - nowMs);
		const usualMs = Math.max(leftMs * RETIRE_PART, Math.min(RETIRE_MIN_MS, leftMs / 4));
		const marginMs = Math.min(RETIRE_MAX_MS, usualMs) * early * (1 + SPREAD * this.#nextSpread());
		// What was let in although it has ended by our clock rests on the difference of clocks, which is not over in the next moment.
		const endsAtMs = leftMs > 0 ? untilMs : untilMs + CLOCK_SKEW_MS;
		this.#entries.set(connection, { retireAtMs: untilMs - marginMs, endsAtMs, retired: false, refusal: undefined });
		this.#expect(untilMs - marginMs);
	}

	/** It is closed. */
	remove(connection: PeeredConnection): void {
		this.#entries.delete(connection);
	}

	/** Of a new bundle: whoever it denies is cut, and whoever comes from a former root is asked to leave. */
	recheck(bundle: TrustBundle): void {
		const { clock, self, onCut } = this.#options;
		const nowMs = clock.wallMs();
		// A hundred connections of one peer have one verdict.
		const verdicts = new Map<VerifiedPeer["leaf"], TlsRefusal | undefined>();
		for (const [connection, entry] of [...this.#entries]) {
			const { peer } = connection;
			if (peer === undefined) continue;
			if (!verdicts.has(peer.leaf)) verdicts.set(peer.leaf, recheckPeer(peer, { bundle, nowMs, self }));
			const refusal = verdicts.get(peer.leaf);
			if (refusal === undefined) continue;
			if (refusal.reason === "tls_unknown_ca") {
				entry.refusal = refusal;
				entry.endsAtMs = Math.min(entry.endsAtMs, nowMs + FORMER_ROOT_MS);
				entry.retireAtMs = Math.min(entry.retireAtMs, nowMs + FORMER_ROOT_LEAVE_MS * this.#nextSpread());
				this.#expect(entry.retireAtMs);
				continue;
			}
			this.#entries.delete(connection);
			onCut(refusal);
			connection.cut();
		}
	}

	#nextSpread(): number {
		this.#spread = (this.#spread + SPREAD_STEP) % 1;
		return this.#spread;
	}

	stop(): void {
		this.#timer?.cancel();
		this.#entries.clear();
	}

	#expect(atMs: number): void {
		if (this.#timer !== undefined && atMs >= this.#nextMs) return;
		this.#nextMs = atMs;
		this.#timer?.cancel();
		const { clock } = this.#options;
		this.#timer = clock.setTimer(Math.min(LOOK_MS, Math.max(1, atMs - clock.wallMs())), () => this.#look());
	}

	#look(): void {
		this.#timer = undefined;
		const nowMs = this.#options.clock.wallMs();
		let nextMs = Number.POSITIVE_INFINITY;
		for (const [connection, entry] of [...this.#entries]) {
			if (nowMs >= entry.endsAtMs) {
				this.#entries.delete(connection);
				if (entry.refusal !== undefined) this.#options.onCut(entry.refusal);
				connection.cut();
				continue;
			}
			if (nowMs >= entry.retireAtMs && !entry.retired) {
				entry.retired = true;
				connection.retire();
			}
			if (this.#entries.has(connection)) nextMs = Math.min(nextMs, entry.retired ? entry.endsAtMs : entry.retireAtMs);
		}
		if (nextMs !== Number.POSITIVE_INFINITY) this.#expect(nextMs);
	}
}
