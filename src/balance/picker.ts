/** The contract between whoever knows the endpoints and whoever needs one now (law 3). */

/** What a picker reads of an endpoint; it writes nothing of it. */
export interface Candidate {
	/** 1..1000 */
	readonly weight: number;
	/** Requests on their way to it at this moment. */
	readonly activeRequests: number;
}

/** Published anew when membership or health changes; a request only asks it. */
export interface Picker<E extends Candidate> {
	/** An endpoint, or undefined when there is none. `avoid` is passed over where another one exists. */
	pick(avoid?: E): E | undefined;
}
