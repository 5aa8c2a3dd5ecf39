/** A small mesh of certificates for a run of the bench: one authority, who calls and who is called, as files in the forms that each proxy wants. */
import { writeFile } from "node:fs/promises";
import { createRequest, privateKeyPem } from "../../src/identity/certificate-request.ts";
import { createIntermediateAuthority, createRootAuthority, issueCertificate } from "../../src/identity/issue.ts";
import { chainPem } from "../../src/identity/keyed-chain.ts";
import { spiffeIdOf } from "../../src/identity/spiffe-id.ts";
import type { Workspace } from "../processes.ts";

const TRUST_DOMAIN = "mesh.local";
const DAY_MS = 24 * 3_600_000;

/** Paths. */
export interface Identity {
	/** Leaf and intermediate. */
	readonly cert: string;
	readonly key: string;
	/** All of it in one file. */
	readonly combined: string;
}

export interface Certificates {
	/** The root. */
	readonly ca: string;
	readonly caller: Identity;
	readonly callee: Identity;
}

/** What the callee is called in SNI and in its certificate. */
export const CALLEE = "callee";

export async function makeCertificates(workspace: Workspace): Promise<Certificates> {
	const nowMs = Date.now();
	const root = await createRootAuthority({ trustDomain: TRUST_DOMAIN, lifetimeMs: DAY_MS, nowMs });
	const intermediate = await createIntermediateAuthority(root, { trustDomain: TRUST_DOMAIN, lifetimeMs: DAY_MS, nowMs });
	const ca = workspace.file("ca.pem");
	await writeFile(ca, chainPem([root.certificate]));
	const issue = async (service: string): Promise<Identity> => {
		const id = spiffeIdOf(TRUST_DOMAIN, service);
		if (!id.ok) throw new Error(`no SPIFFE ID for ${service}`);
		const { key, request } = createRequest(id.id);
		const issued = await issueCertificate(intermediate, { request, id: id.id, dnsNames: [service], lifetimeMs: DAY_MS, nowMs });
		if (!issued.ok) throw new Error(issued.words);
		const identity = {
			cert: workspace.file(`${service}.pem`),
			key: workspace.file(`${service}.key`),
			combined: workspace.file(`${service}-all.pem`),
		};
		const [chain, secret] = [chainPem(issued.chain), privateKeyPem(key)];
		await Promise.all([
			writeFile(identity.cert, chain),
			writeFile(identity.key, secret, { mode: 0o600 }),
			writeFile(identity.combined, chain + secret, { mode: 0o600 }),
		]);
		return identity;
	};
	return { ca, caller: await issue("caller"), callee: await issue(CALLEE) };
}
