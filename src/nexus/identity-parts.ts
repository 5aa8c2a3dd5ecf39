/** Opens what Nexus knows of identities, in order: their state, the tokens, the authority, who may do what; and makes the first operator. */
import { isIP } from "node:net";
import { join } from "node:path";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Rng } from "../core/rng.ts";
import { writeSecretFile } from "../core/secret-file.ts";
import { Access, type RolesOfIdentities } from "./access/access.ts";
import { FileTokens } from "./access/file-tokens.ts";
import { StateTokens } from "./access/state-tokens.ts";
import { importTokens } from "./access/token-import.ts";
import { Tokens } from "./access/tokens.ts";
import type { Authority } from "./authority/authority.ts";
import type { Role } from "./authority/identity-state.ts";
import { StateFile } from "./authority/state-file.ts";
import { exposureFault, type NexusConfig } from "./config/config.ts";
import type { StateStore } from "./state/state-store.ts";

export interface IdentityOptions extends NexusConfig {
	readonly clock: Clock;
	readonly rng: Rng;
	readonly logger: Logger;
	/** False while another node is the authority: nothing is changed then. Default: true. */
	readonly mayChange?: () => boolean;
	/** Where other nodes have the same state: tokens are kept there. */
	readonly shared?: { readonly state: StateStore; readonly nodeId: string };
}

export interface IdentityParts {
	readonly tokens: Tokens;
	readonly access: Access;
	/** Undefined where none is configured. */
	readonly authority: Authority | undefined;
}

const STATE_FILE = "identity.json";
const OPERATOR_FILE = "operator.token";

/** The data directory is there, and ours alone. Rejects with a readable error. */
export async function openIdentity(options: IdentityOptions): Promise<IdentityParts> {
	const { dataDir, clock, allowedHosts, listen, access: rules } = options;
	const state = await StateFile.open(join(dataDir, STATE_FILE), async (path, text) => {
		if (options.mayChange?.() === false) throw new Error("another node is the authority now");
		await writeSecretFile(path, text);
	});
	const tokens = new Tokens(await keptTokens(state, options), clock);
	const exposure = exposureFault(options, tokens.hasApiTokens());
	if (exposure !== undefined) throw new Error(exposure);
	let authority: Authority | undefined;
	if (options.authority !== undefined) {
		// With the library that issues: 60 ms and 10 MB, for those who have an authority.
		const { Authority } = await import("./authority/authority.ts");
		const names = [...allowedHosts, listen.host].map((name) => name.toLowerCase());
		const dnsNames = names.filter((name) => isIP(name) === 0 && !name.includes(":"));
		// A wildcard is no address that anybody calls.
		const addresses = names.filter((name) => isIP(name) !== 0 && name !== "0.0.0.0" && name !== "::");
		authority = await Authority.open({ ...options, ...options.authority, dnsNames, addresses, state, tokens });
	}
	const identities = withTrustDomain(rules.identities, authority?.trustDomain);
	const recheck = authority === undefined ? undefined : (peer: Parameters<Authority["trust"]["recheck"]>[0]) => authority.trust.recheck(peer);
	const access = new Access({ rules: { anonymous: rules.anonymous, identities }, tokens, recheck });
	if (authority !== undefined || (rules.isStated && !rules.anonymous.includes("operate"))) await makeFirstOperator(tokens, options);
	return { tokens, access, authority };
}

async function keptTokens(file: StateFile, { shared, clock, logger }: IdentityOptions): Promise<FileTokens | StateTokens> {
	if (shared === undefined) return new FileTokens(file);
	const { state, nodeId } = shared;
	const count = await importTokens(file, state, nodeId);
	if (count > 0) logger.info("the tokens of this node are in the shared state now", { count });
	return StateTokens.open(state, clock, logger);
}

/** Somebody must be able to make the other tokens. */
async function makeFirstOperator(tokens: Tokens, { dataDir, logger }: IdentityOptions): Promise<void> {
	if (tokens.hasOperator()) return;
	const path = join(dataDir, OPERATOR_FILE);
	// In the file before it holds: cut off in between, the next start makes another one.
	const made = await tokens.createApi({ role: "operate", name: "first operator" }, (text) => writeSecretFile(path, `${text}\n`));
	if ("fault" in made) throw new Error(made.words);
	logger.info("made the token of the first operator", { file: path });
}

function withTrustDomain(identities: RolesOfIdentities, trustDomain: string | undefined): RolesOfIdentities {
	const entries = Object.entries(identities) as [Role, readonly string[] | undefined][];
	if (trustDomain === undefined && entries.some(([, names = []]) => names.length > 0)) {
		throw new Error("access.identities needs `authority`: without it nobody can show a certificate");
	}
	return Object.fromEntries(
		entries.map(([role, names = []]) => [role, names.map((name) => (name.includes("://") ? name : `spiffe://${trustDomain}/${name}`))]),
	);
}
