/** A new authority of a trust domain, and one that follows it: root with intermediate, or an intermediate alone. Loads the issuing library. */
import { INTERMEDIATE_LIFETIME_MS, type NewAuthority, ROOT_LIFETIME_MS } from "./authority-dir.ts";
import { createIntermediateAuthority, createRootAuthority } from "./issue.ts";
import type { Authority } from "./keyed-chain.ts";

export interface NewAuthorityOptions {
	readonly trustDomain: string;
	/** Wall time. */
	readonly nowMs: number;
}

export async function createAuthority(options: NewAuthorityOptions): Promise<NewAuthority> {
	const root = await createRootAuthority({ ...options, lifetimeMs: ROOT_LIFETIME_MS });
	return { root, intermediate: await createIntermediate(root, options) };
}

export function createIntermediate(root: Authority, options: NewAuthorityOptions): Promise<Authority> {
	return createIntermediateAuthority(root, { ...options, lifetimeMs: INTERMEDIATE_LIFETIME_MS });
}
