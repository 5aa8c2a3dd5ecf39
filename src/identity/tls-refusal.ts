/** Why a peer is refused: a typed reason, in words, with all that a person needs to find the cause. What logs, metrics and events show. */
import { REASONS, type Reason } from "../core/reasons.ts";
import type { Certificate } from "./certificate.ts";
import { nameText } from "./distinguished-name.ts";

export type TlsReason = Extract<Reason, `tls_${string}`>;

/** Which certificate of the chain is at fault. */
export type ChainRole = "leaf" | "intermediate" | "root";

/** All of it printable ASCII of bounded length, whatever the peer has sent; empty where there is nothing to say. */
export interface TlsRefusal {
	readonly ok: false;
	readonly reason: TlsReason;
	/** One sentence: what is wrong, with names, serials and times. */
	readonly words: string;
	/** One sentence: what to do. */
	readonly hint: string;
	/** SPIFFE IDs: ours, the one that was meant, and the one that the peer claims, which nothing has proven. */
	readonly self: string;
	readonly expected: string;
	readonly peer: string;
	/** Of the certificate at fault. */
	readonly role: ChainRole | "";
	readonly subject: string;
	readonly issuer: string;
	readonly serial: string;
	/** ISO 8601. */
	readonly notBefore: string;
	readonly notAfter: string;
}

export interface RefusalContext {
	readonly self: string;
	readonly expected: string;
	readonly peer: string;
}

/** `at`: the certificate at fault. */
export function tlsRefusal(
	reason: TlsReason,
	words: string,
	{ self, expected, peer }: RefusalContext,
	at?: { readonly certificate: Certificate; readonly role: ChainRole },
): TlsRefusal {
	const facts =
		at === undefined
			? { role: "" as const, subject: "", issuer: "", serial: "", notBefore: "", notAfter: "" }
			: {
					role: at.role,
					subject: nameText(at.certificate.subject),
					issuer: nameText(at.certificate.issuer),
					serial: at.certificate.serial,
					notBefore: new Date(at.certificate.notBeforeMs).toISOString(),
					notAfter: new Date(at.certificate.notAfterMs).toISOString(),
				};
	return { ok: false, reason, words: shown(words), hint: REASONS[reason].hint, self, expected, peer: shown(peer), ...facts };
}

/** `90 s`, `5 min`, `3 h`, `12 d`: as exact as a person needs. */
export function roughly(ms: number): string {
	const s = Math.round(Math.abs(ms) / 1000);
	if (s < 120) return `${s} s`;
	if (s < 7_200) return `${Math.round(s / 60)} min`;
	return s < 172_800 ? `${Math.round(s / 3_600)} h` : `${Math.round(s / 86_400)} d`;
}

// Two identities of the usual length, a name and the sentence around them.
const SHOWN_LENGTH_MAX = 1024;

function shown(text: string): string {
	return text.slice(0, SHOWN_LENGTH_MAX).replace(/[^\x20-\x7e]/g, "?");
}
