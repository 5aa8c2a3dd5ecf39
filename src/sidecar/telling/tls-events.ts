/** Tells how TLS fares: counts it, and once a second says what has failed, in one event for each cause and one line of the log. */
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { TlsReason, TlsRefusal } from "../../identity/tls-refusal.ts";
import type { TlsFailure } from "../../net/tls-cause.ts";
import type { TlsObserver, TlsPlace } from "../identity/tls-observer.ts";
import type { EventFeed } from "./event-feed.ts";
import { type PlaintextCaller, PlaintextCallers } from "./plaintext-callers.ts";
import { TlsCounts } from "./tls-counts.ts";
import { type CountedTlsFailure, type KnownIdentities, NO_CERTIFICATE, type TlsFailureFacts, TlsFailures } from "./tls-failures.ts";

const WINDOW_MS = 1000;

export interface TlsEventsOptions {
	readonly clock: Clock;
	readonly log: Logger;
	readonly feed: Pick<EventFeed, "emit">;
	readonly identities: KnownIdentities;
}

/** Times are milliseconds since 1970. */
export interface TlsReport {
	/** Since when it is counted. */
	readonly sinceMs: number;
	/** A place appears with its first connection. */
	readonly places: readonly Readonly<TlsCounts>[];
	/** Connections that stood and were cut, by reason. */
	readonly cut: ReadonlyMap<TlsReason, number>;
	/** The last connection in plain text, undefined where none has come. */
	readonly lastPlaintextMs: number | undefined;
	/** The most frequent first. */
	readonly plaintextCallers: readonly PlaintextCaller[];
	/** The last ones that differ, newest first. */
	readonly failures: readonly CountedTlsFailure[];
}

export class TlsEvents implements TlsObserver {
	readonly #options: TlsEventsOptions;
	readonly #sinceMs: number;
	readonly #places = { inbound: new Map<string, TlsCounts>(), outbound: new Map<string, TlsCounts>() };
	readonly #cut = new Map<TlsReason, number>();
	readonly #callers = new PlaintextCallers();
	readonly #failures: TlsFailures;
	#lastPlaintextMs: number | undefined;
	#window: Timer | undefined;

	constructor(options: TlsEventsOptions) {
		this.#options = options;
		this.#sinceMs = options.clock.wallMs();
		this.#failures = new TlsFailures(options.identities);
	}

	onSecured(place: TlsPlace, _peer: string, resumed: boolean): void {
		const counts = this.#countsOf(place);
		if (resumed) counts.resumed++;
		else counts.full++;
	}

	onPlaintext(place: TlsPlace): void {
		this.#countsOf(place).plaintext++;
		this.#lastPlaintextMs = this.#options.clock.wallMs();
		this.#callers.add(place.address, this.#lastPlaintextMs);
	}

	onFailed(place: TlsPlace, failure: TlsFailure | TlsRefusal): void {
		this.#countsOf(place).countFailed(failure.reason);
		this.#note(place, failure);
	}

	onCut(refusal: TlsRefusal): void {
		this.#cut.set(refusal.reason, (this.#cut.get(refusal.reason) ?? 0) + 1);
		this.#note(undefined, refusal);
	}

	report(): TlsReport {
		return {
			sinceMs: this.#sinceMs,
			places: [...this.#places.inbound.values(), ...this.#places.outbound.values()],
			cut: this.#cut,
			lastPlaintextMs: this.#lastPlaintextMs,
			plaintextCallers: this.#callers.list(),
			failures: this.#failures.list(),
		};
	}

	/** Tells the last, shorter window; call while events can still be delivered. Idempotent. */
	stop(): void {
		if (this.#window === undefined) return;
		this.#window.cancel();
		this.#tell();
	}

	#countsOf({ direction, name }: TlsPlace): TlsCounts {
		const places = this.#places[direction];
		let counts = places.get(name);
		if (counts === undefined) {
			counts = new TlsCounts(direction, name);
			places.set(name, counts);
		}
		return counts;
	}

	#note(place: TlsPlace | undefined, failure: TlsFailure | TlsRefusal): void {
		const { clock } = this.#options;
		this.#failures.add(place, failure, clock.wallMs());
		this.#window ??= clock.setTimer(WINDOW_MS, () => this.#tell());
	}

	#tell(): void {
		this.#window = undefined;
		const { feed } = this.#options;
		const { failures, others } = this.#failures.takeUntold();
		for (const { facts, count } of failures) feed.emit("nexus.mesh.mtls.failure", { windowMs: WINDOW_MS, count, ...facts }, facts.name || facts.peer);
		if (others > 0) feed.emit("nexus.mesh.mtls.failure", { windowMs: WINDOW_MS, count: others, ...this.#otherFacts() });
		this.#log(failures, others);
	}

	/** One line for each cause: a hundred peers with the same fault are one thing to mend. */
	#log(failures: readonly { readonly facts: TlsFailureFacts; readonly count: number }[], others: number): void {
		const { log } = this.#options;
		const byCause = Map.groupBy(failures, ({ facts: { kind, direction, name, reason } }) => `${kind} ${direction} ${name} ${reason}`);
		for (const same of byCause.values()) {
			const [first] = same;
			if (first === undefined) continue;
			const { kind, direction, name, ...facts } = first.facts;
			const where = kind === "cut" ? {} : { direction, name };
			const count = same.reduce((sum, one) => sum + one.count, 0);
			const told = Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== ""));
			const message = kind === "cut" ? "connections are cut, as their peer is not trusted any more" : "TLS has failed";
			log.warn(message, { ...where, count, ...(same.length > 1 ? { peers: same.length } : {}), ...told });
		}
		if (others > 0) log.warn("TLS has failed in further ways, which are counted only", { count: others });
	}

	#otherFacts(): TlsFailureFacts {
		return {
			kind: "connection",
			direction: "",
			name: "",
			reason: "others",
			words: "further failures of this window, which are counted only",
			hint: "The metric nexus_tls_failures_total has all of them, by reason.",
			endedBy: "neither",
			address: "",
			self: this.#options.identities.self(),
			expected: "",
			peer: "",
			...NO_CERTIFICATE,
		};
	}
}
