/** `x-nexus-trace: <token>`: who may ask for the trace of a request, and under which id it is then found. */
import { TrustedProxies } from "../../policy/trusted-proxies.ts";

export const TRACE_HEADER = "x-nexus-trace";

/** Built when the policy changes. Which addresses may ask says `tracing.allow`; nobody else is answered, or told so. */
export class TraceTokens {
	readonly #allowed: TrustedProxies;

	/** `allowed`: CIDR blocks as in `Snapshot.traceAllowed`. */
	constructor(allowed: readonly string[]) {
		this.#allowed = new TrustedProxies(allowed);
	}

	/**
	 * The id under which the trace is to be kept: the token itself, where the caller at `clientAddress` may ask and it is 1 to 64
	 * of `A-Z a-z 0-9 . _ -`. Undefined: the request goes on as if the field were not there.
	 */
	idFor(token: string | undefined, clientAddress: string): string | undefined {
		return token !== undefined && isTraceToken(token) && this.#allowed.trusts(clientAddress) ? token : undefined;
	}
}

/** Stands in a path and in a header: nothing in it needs an escape. */
export function isTraceToken(text: string): boolean {
	return /^[A-Za-z0-9._-]{1,64}$/.test(text);
}
