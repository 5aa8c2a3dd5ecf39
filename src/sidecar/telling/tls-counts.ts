/** How connections over TLS went at one place, as plain numbers: a listener that is called, or an upstream that we call. */
import type { TlsReason } from "../../identity/tls-refusal.ts";

export class TlsCounts {
	readonly direction: "inbound" | "outbound";
	/** `inbound`, or the name of the upstream. */
	readonly name: string;
	/** After a whole handshake, with certificates. */
	full = 0;
	/** On an earlier session. */
	resumed = 0;
	/** Plain text where TLS was possible. */
	plaintext = 0;
	/** Not made, or not let in. */
	failed = 0;
	/** Of these, by reason. */
	readonly reasons = new Map<TlsReason, number>();

	constructor(direction: "inbound" | "outbound", name: string) {
		this.direction = direction;
		this.name = name;
	}

	countFailed(reason: TlsReason): void {
		this.failed++;
		this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
	}
}
