/** What `GET /v1/authority` shows: authorities, bundle, deny lists, workloads, and what a rotation waits for. */
import type { Certificate } from "../../identity/certificate.ts";
import { nameText } from "../../identity/distinguished-name.ts";
import type { IdentityState } from "./identity-state.ts";
import type { Rotations } from "./rotations.ts";
import type { Published } from "./trust.ts";
import type { Workload, Workloads } from "./workloads.ts";

/** Enough for a person, who sees by the count that there are more. */
const WORKLOADS_SHOWN_MAX = 1_000;
const HINDRANCES_SHOWN_MAX = 100;

/** issuing: signs now · trusted: in the bundle, and signs nothing yet or by itself · retiring: about to leave the bundle */
export type AuthorityRole = "issuing" | "trusted" | "retiring";

export interface ShownAuthority {
	readonly subject: string;
	readonly serial: string;
	/** SHA-256, hexadecimal. */
	readonly fingerprint: string;
	/** ISO 8601. */
	readonly notBefore: string;
	readonly notAfter: string;
	readonly role: AuthorityRole;
}

export interface ShownWorkload {
	readonly identity: string;
	readonly address: string;
	readonly serial: string;
	/** Fingerprint. */
	readonly issuer: string;
	readonly notAfter: string;
	readonly bundleVersion: number;
	readonly lastSeen: string;
}

export interface ShownRotation {
	readonly what: "intermediate" | "root";
	readonly step: "add" | "issue" | "retire";
	readonly startedAt: string;
	readonly stepSince: string;
	/** Milliseconds for which it waits in any case, after a start of Nexus. */
	readonly patienceLeftMs: number;
	readonly waitsForCount: number;
	readonly waitsFor: readonly (ShownWorkload & { readonly lacks: string })[];
}

export interface AuthorityStatus {
	readonly trustDomain: string;
	readonly bundleVersion: number;
	/** Fingerprint of what issues now. */
	readonly issuer: string;
	readonly certificateTtlMs: number;
	/** Whether an intermediate can be replaced here. */
	readonly hasRootKey: boolean;
	readonly roots: readonly ShownAuthority[];
	readonly intermediates: readonly ShownAuthority[];
	readonly deniedSerials: readonly string[];
	readonly deniedIdentities: readonly string[];
	readonly workloadCount: number;
	/** Those seen last, first. */
	readonly workloads: readonly ShownWorkload[];
	readonly rotation: ShownRotation | null;
}

export interface StatusView {
	readonly rotations: Rotations;
	readonly workloads: Workloads;
	readonly state: IdentityState;
	readonly published: Published;
	readonly certificateTtlMs: number;
}

export function authorityStatus({ rotations, workloads, state, published, certificateTtlMs }: StatusView): AuthorityStatus {
	const { dir, next } = rotations;
	const { rotation } = state;
	const isNextIssuing = rotation !== null && rotation.step !== "add";
	const [firstRoot] = dir.roots;
	const roots = rotations.roots.map((root) => {
		const isNew = root.fingerprint === next?.root?.fingerprint;
		const isOld = root.fingerprint === firstRoot.fingerprint && next?.root !== undefined;
		return shownAuthority(
			root,
			isNextIssuing && isNew ? "issuing" : isOld && isNextIssuing ? "retiring" : root === firstRoot ? "issuing" : "trusted",
		);
	});
	const present = shownAuthority(dir.intermediate.certificate, isNextIssuing && next !== undefined ? "retiring" : "issuing");
	const intermediates =
		next === undefined ? [present] : [present, shownAuthority(next.intermediate.certificate, isNextIssuing ? "issuing" : "trusted")];
	const seen = [...workloads.all].sort((a, b) => b.lastSeenMs - a.lastSeenMs).slice(0, WORKLOADS_SHOWN_MAX);
	return {
		trustDomain: dir.trustDomain,
		bundleVersion: published.bundle.version,
		issuer: published.issuer,
		certificateTtlMs,
		hasRootKey: dir.root !== undefined,
		roots,
		intermediates,
		deniedSerials: state.deniedSerials.map(({ serial }) => serial),
		deniedIdentities: state.deniedIdentities,
		workloadCount: workloads.size,
		workloads: seen.map(shownWorkload),
		rotation: shownRotation(rotations, state),
	};
}

function shownRotation(rotations: Rotations, { rotation }: IdentityState): ShownRotation | null {
	if (rotation === null) return null;
	const found = rotations.hindrances();
	return {
		what: rotation.what,
		step: rotation.step,
		startedAt: isoTime(rotation.startedMs),
		stepSince: isoTime(rotation.stepMs),
		patienceLeftMs: Math.round(rotations.patienceLeftMs),
		waitsForCount: found.length,
		waitsFor: found.slice(0, HINDRANCES_SHOWN_MAX).map(({ workload, lacks }) => ({ ...shownWorkload(workload), lacks })),
	};
}

function shownAuthority({ subject, serial, fingerprint, notBeforeMs, notAfterMs }: Certificate, role: AuthorityRole): ShownAuthority {
	return { subject: nameText(subject), serial, fingerprint, notBefore: isoTime(notBeforeMs), notAfter: isoTime(notAfterMs), role };
}

function shownWorkload({ identity, address, leaf, bundleVersion, lastSeenMs }: Workload): ShownWorkload {
	const { serial, issuer, notAfterMs } = leaf;
	return { identity, address, serial, issuer, notAfter: isoTime(notAfterMs), bundleVersion, lastSeen: isoTime(lastSeenMs) };
}

function isoTime(ms: number): string {
	return new Date(ms).toISOString();
}
