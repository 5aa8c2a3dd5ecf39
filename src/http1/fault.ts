/** Why bytes are not an HTTP/1.1 message that we relay: a reason of the catalogue, the rule, and where. */
import type { Reason } from "../core/reasons.ts";

export interface CodecFault {
	readonly reason: Reason;
	/** The rule that is broken, with its RFC section; holds no bytes of the peer. */
	readonly detail: string;
	/** Bytes from the start of the message (head and trailers) or of the chunk framing to the offence. */
	readonly offset: number;
}

export function fault(reason: Reason, detail: string, offset: number): CodecFault {
	return { reason, detail, offset };
}
