/** Who this service is, for people and for the admin API: nothing that is secret. */
import { nameText } from "../../identity/distinguished-name.ts";
import type { Rotation } from "../../identity/rotation.ts";
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import type { IdentityFault } from "./identity-source.ts";
import type { MeshIdentity } from "./mesh-identity.ts";

export interface IdentityStatus {
	readonly identity: string;
	readonly source: string;
	readonly state: "waiting" | "valid" | "expired";
	/** Undefined until there is one. */
	readonly certificate:
		| {
				readonly serial: string;
				readonly issuer: string;
				/** ISO 8601. */
				readonly notBefore: string;
				readonly notAfter: string;
				/** holding: until it is due · renewing: asked for now · pausing: until the next try. */
				readonly rotation: Rotation["phase"];
		  }
		| undefined;
	/** What does not work; undefined where all does. */
	readonly lastError: IdentityFault | undefined;
	readonly bundle:
		| {
				readonly version: number;
				readonly roots: readonly {
					readonly trustDomain: string;
					readonly subject: string;
					readonly fingerprint: string;
					readonly notAfter: string;
				}[];
				readonly deniedSerials: number;
				readonly deniedIdentities: number;
		  }
		| undefined;
	/** Of certificates, since the start; the first one is none. */
	readonly renewals: { readonly renewed: number; readonly failed: number };
	/** Connections that rest on a certificate of their peer. */
	readonly connections: number;
}

export interface IdentityParts {
	readonly source: string;
	readonly self: SpiffeId;
	readonly identity: MeshIdentity | undefined;
	readonly bundle: TrustBundle | undefined;
	readonly phase: Rotation["phase"] | undefined;
	readonly lastFault: IdentityFault | undefined;
	readonly renewals: IdentityStatus["renewals"];
	/** Wall time. */
	readonly nowMs: number;
}

export function identityStatus({ source, self, identity, bundle, phase, lastFault, renewals, nowMs }: IdentityParts): IdentityStatus {
	const leaf = identity?.keyed.chain[0];
	return {
		identity: self.uri,
		source,
		state: leaf === undefined ? "waiting" : nowMs > leaf.notAfterMs ? "expired" : "valid",
		certificate: leaf && {
			serial: leaf.serial,
			issuer: nameText(leaf.issuer),
			notBefore: iso(leaf.notBeforeMs),
			notAfter: iso(leaf.notAfterMs),
			rotation: phase ?? "holding",
		},
		lastError: lastFault,
		bundle: bundle && {
			version: bundle.version,
			roots: rootsOf(bundle),
			deniedSerials: bundle.deniedSerials.length,
			deniedIdentities: bundle.deniedIdentities.length,
		},
		renewals: { ...renewals },
		connections: identity?.watched ?? 0,
	};
}

function rootsOf({ roots }: TrustBundle): NonNullable<IdentityStatus["bundle"]>["roots"] {
	return [...roots].flatMap(([trustDomain, certificates]) =>
		certificates.map(({ subject, fingerprint, notAfterMs }) => ({ trustDomain, subject: nameText(subject), fingerprint, notAfter: iso(notAfterMs) })),
	);
}

function iso(ms: number): string {
	return new Date(ms).toISOString();
}
