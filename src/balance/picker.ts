/** The contract between whoever knows the endpoints and whoever needs one now (law 3). */
import type { Hash64 } from "../core/xxh64.ts";
import type { PeakEwma } from "./peak-ewma.ts";

/** What a picker reads of an endpoint; it writes nothing of it. */
export interface Candidate {
	/** `host:port` or the path of a unix socket, unique within its upstream; ring-hash and maglev place it by this. */
	readonly key: string;
	/** 1..1000 */
	readonly weight: number;
	/** Requests on their way to it at this moment. */
	readonly activeRequests: number;
	/** Where balancing goes by latency. */
	readonly latency: PeakEwma | undefined;
}

/** Published anew when membership or health changes; a request only asks it. */
export interface Picker<E extends Candidate> {
	/**
	 * An endpoint, or undefined when there is none. `avoid` is passed over where another one exists. `hash` is what the
	 * request is told apart by; pickers that do not hash pass it by, the others draw at random where it is missing.
	 */
	pick(avoid?: E, hash?: Hash64): E | undefined;
}
