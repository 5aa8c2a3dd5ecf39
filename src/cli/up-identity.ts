/** Identities of a local mesh: an authority of its own for as long as it runs, and a join token for each sidecar that asks Nexus for one. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { writeSecretFile } from "../core/secret-file.ts";
import { writeAuthorityDir } from "../identity/authority-dir.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { openNexus } from "./nexus-api.ts";

// A laptop that has slept for longer than a certificate lasts joins again, whoever closed it on a Friday.
const TOKEN_TTL = "720h";
const TOKEN_USES = 1000;
const OWNER_ONLY = 0o700;

/** A sidecar whose policy has `identity.nexus`. */
export interface JoiningSidecar {
	readonly service: string;
	/** Where the token is to stand, absolute. */
	readonly tokenFile: string;
}

/** The one that all policies with `identity.nexus` name; undefined where there is none. */
export function trustDomainOf(snapshots: readonly Snapshot[]): { readonly trustDomain: string | undefined } | { readonly fault: string } {
	const domains = new Set(snapshots.filter(({ identity }) => identity?.kind === "nexus").map(({ trustDomain }) => trustDomain));
	if (domains.size > 1) return { fault: `the policies name several trust domains, and one Nexus issues for one: ${[...domains].join(", ")}` };
	return { trustDomain: [...domains][0] };
}

/** Makes an authority below `folder`. Resolves with the configuration file of a Nexus that issues with it. */
export async function prepareAuthority(folder: string, trustDomain: string, clock: Clock): Promise<string> {
	// The library that issues costs 100 ms; a mesh without identities does not need it.
	const { createAuthority } = await import("../identity/new-authority.ts");
	const dir = join(folder, "authority");
	await mkdir(dir, { recursive: true, mode: OWNER_ONLY });
	await writeAuthorityDir(dir, await createAuthority({ trustDomain, nowMs: clock.wallMs() }));
	const file = join(folder, "nexus.yaml");
	// All that is on this machine may operate it, as it may operate all else here: what it is good for ends with the mesh.
	await writeFile(file, "authority: { dir: ./authority }\naccess: { anonymous: [read, ingest, operate] }\n");
	return file;
}

/** Of a Nexus that is ready. Rejects with what it has said. */
export async function giveJoinTokens(nexusPort: number, sidecars: readonly JoiningSidecar[]): Promise<void> {
	// Whatever token is in our own environment is for another Nexus.
	const nexus = await openNexus({ url: `http://127.0.0.1:${nexusPort}` }, {});
	if (typeof nexus === "string") throw new Error(nexus);
	await Promise.all(
		sidecars.map(async ({ service, tokenFile }) => {
			const { token } = await nexus.client.tokens.create({ service, ttl: TOKEN_TTL, uses: TOKEN_USES });
			await mkdir(dirname(tokenFile), { recursive: true, mode: OWNER_ONLY });
			await writeSecretFile(tokenFile, `${token}\n`);
		}),
	);
}
