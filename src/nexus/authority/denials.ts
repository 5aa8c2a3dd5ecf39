/** The deny lists: what is put on and taken off. Pure. */
import { CLOCK_SKEW_MS } from "../../identity/path-rules.ts";
import { parseSpiffeId } from "../../identity/spiffe-id.ts";
import { DENIED_MAX, type IdentityState } from "./identity-state.ts";
import { lastsUntilMs, type Workloads } from "./workloads.ts";

/** A peer whose clock is as far behind ours as may be allows for as much again: until then a certificate that has ended is taken. */
const OUTLIVED_MS = 2 * CLOCK_SKEW_MS;

/** A serial number in hexadecimal, colons allowed, or a SPIFFE ID. */
export type Denial = { readonly serial: string } | { readonly identity: string };

export interface DenialRefused {
	readonly fault: "bad_denial" | "untouchable" | "list_full" | "not_denied";
	readonly words: string;
}

export interface DenialView {
	/** Wall time. */
	readonly nowMs: number;
	/** Serial numbers of what everybody rests on. */
	readonly untouchable: readonly string[];
	/** SPIFFE ID of Nexus. */
	readonly self: string;
	readonly workloads: Workloads;
}

/** The same state where it is on the list already. */
export function withDenial(state: IdentityState, denial: Denial, { nowMs, untouchable, self, workloads }: DenialView): IdentityState | DenialRefused {
	// Who has ended needs no denial any more.
	const deniedSerials = state.deniedSerials.filter(({ untilMs }) => untilMs === null || untilMs + OUTLIVED_MS >= nowMs);
	if (deniedSerials.length + state.deniedIdentities.length >= DENIED_MAX) {
		return { fault: "list_full", words: `the deny list has ${DENIED_MAX} entries; a new authority is what is needed (\`nexus ca rotate --root\`)` };
	}
	if ("serial" in denial) {
		const serial = serialOf(denial.serial);
		if (serial === undefined) return BAD_SERIAL;
		if (untouchable.some((each) => serialOf(each) === serial))
			return { fault: "untouchable", words: "that is the authority, or Nexus itself: rotate it, and deny the old one then" };
		if (deniedSerials.some((each) => each.serial === serial)) return state;
		return { ...state, deniedSerials: [...deniedSerials, { serial, untilMs: endOf(serial, workloads) }] };
	}
	const identity = identityOf(denial.identity);
	if (identity === undefined) return BAD_IDENTITY;
	if (identity === self) return { fault: "untouchable", words: "that is Nexus itself: nobody could reach it any more" };
	if (state.deniedIdentities.includes(identity)) return state;
	return { ...state, deniedSerials, deniedIdentities: [...state.deniedIdentities, identity] };
}

export function withoutDenial(state: IdentityState, denial: Denial): IdentityState | DenialRefused {
	if ("serial" in denial) {
		const serial = serialOf(denial.serial);
		if (serial === undefined) return BAD_SERIAL;
		const deniedSerials = state.deniedSerials.filter((each) => each.serial !== serial);
		return deniedSerials.length === state.deniedSerials.length ? NOT_DENIED : { ...state, deniedSerials };
	}
	const identity = identityOf(denial.identity);
	if (identity === undefined) return BAD_IDENTITY;
	const deniedIdentities = state.deniedIdentities.filter((each) => each !== identity);
	return deniedIdentities.length === state.deniedIdentities.length ? NOT_DENIED : { ...state, deniedIdentities };
}

const BAD_SERIAL: DenialRefused = { fault: "bad_denial", words: "serial is no serial number in hexadecimal" };
const BAD_IDENTITY: DenialRefused = { fault: "bad_denial", words: "identity is no SPIFFE ID, as in spiffe://mesh.local/payments" };
const NOT_DENIED: DenialRefused = { fault: "not_denied", words: "that is not on the deny list" };

/** As certificates are read here: lower case, no zeros in front. */
function serialOf(text: string): string | undefined {
	const digits = text
		.replaceAll(":", "")
		.toLowerCase()
		.replace(/^0+(?=.)/, "");
	return /^[0-9a-f]{1,40}$/.test(digits) ? digits : undefined;
}

function identityOf(text: string): string | undefined {
	const reading = parseSpiffeId(text);
	return reading.ok ? reading.id.uri : undefined;
}

/** Null where Nexus has not issued it, or forgotten it. */
function endOf(serial: string, workloads: Workloads): number | null {
	for (const workload of workloads.all) {
		if (workload.leaf.serial === serial || workload.given?.serial === serial) return lastsUntilMs(workload);
	}
	return null;
}
