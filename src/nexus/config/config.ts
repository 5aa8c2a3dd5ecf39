/** The configuration file of Nexus: text -> checked values, or all of its faults with their places. Pure. */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { parseSpiffeId } from "../../identity/spiffe-id.ts";
import type { Env } from "../../policy/env.ts";
import { LineIndex, type PolicyFault, type Refusal } from "../../policy/fault.ts";
import { pathText, type TreeFault, toPlain } from "../../policy/tree.ts";
import { validate } from "../../policy/validate.ts";
import { parseDuration, parseTcpAddress } from "../../policy/values.ts";
import { readYaml } from "../../policy/yaml-reader.ts";
import { isLoopback, type RolesOfIdentities } from "../access/access.ts";
import { ROLES, type Role } from "../authority/identity-state.ts";
import { EVENT_BYTES, EVENT_BYTES_LIMIT } from "../publish/limits.ts";
import { parseSize, text, within } from "./config-values.ts";
import { DEFAULT_ENGINES, type EngineConfig, engineConfig, engineKeys, normalised } from "./engine-config.ts";
import { NO_WEBHOOK_CERTIFICATES, type WebhookConfig, webhookConfig, webhookKeys } from "./webhook-config.ts";
import { zodShape } from "./zod-shape.ts";

export { parseSize };

export interface NexusConfig extends EngineConfig {
	readonly listen: { readonly host: string; readonly port: number };
	/** Absolute, or relative to the working directory. */
	readonly dataDir: string;
	/** Where backups of the log are made; undefined: `backups` in the data directory. */
	readonly backupsDir: string | undefined;
	readonly allowedHosts: readonly string[];
	readonly cluster: {
		/** How long a node may be silent before another takes over what only one does. */
		readonly leaseMs: number;
		/** Where this node is reached; undefined: where it listens. */
		readonly url: string | undefined;
	};
	/** Of one event, as JSON. */
	readonly limits: { readonly eventBytesMax: number };
	readonly webhooks: WebhookConfig;
	/** Undefined: Nexus issues nothing, and speaks plain text. */
	readonly authority: { readonly dir: string; readonly certificateTtlMs: number } | undefined;
	readonly access: {
		/** Of callers on loopback that show neither certificate nor token. */
		readonly anonymous: readonly Role[];
		/** Names of services, or SPIFFE IDs. */
		readonly identities: RolesOfIdentities;
		/** Whether somebody has thought about it: without that, nothing is served beyond this machine. */
		readonly isStated: boolean;
	};
}

export type ConfigResult = { readonly ok: true; readonly config: NexusConfig } | { readonly ok: false; readonly faults: readonly PolicyFault[] };

/** Longer than a state that fails over is away, shorter than what webhooks get to acknowledge (30 s). */
const LEASE_MS = 10_000;
const LEASE_MIN_MS = 1_000;
const LEASE_MAX_MS = 300_000;

export const DEFAULT_CONFIG: NexusConfig = Object.freeze({
	listen: Object.freeze({ host: "127.0.0.1", port: 7400 }),
	dataDir: ".nexus/data",
	backupsDir: undefined,
	allowedHosts: Object.freeze([]),
	...DEFAULT_ENGINES,
	cluster: Object.freeze({ leaseMs: LEASE_MS, url: undefined }),
	limits: Object.freeze({ eventBytesMax: EVENT_BYTES }),
	webhooks: NO_WEBHOOK_CERTIFICATES,
	authority: undefined,
	access: Object.freeze({ anonymous: ROLES, identities: Object.freeze({}), isStated: false }),
});

/** For sidecars that renew at 70 % it leaves seven hours for an authority that is away. */
const CERTIFICATE_TTL_MS = 24 * 3_600_000;
const CERTIFICATE_TTL_MIN_MS = 1_000;
const IDENTITIES_MAX = 1_000;

/** Made a SPIFFE ID once the trust domain is known. */
function parseIdentity(given: string): string | Refusal {
	const isId = parseSpiffeId(given.includes("://") ? given : `spiffe://any/${given}`).ok;
	return isId ? given : { refused: "is no service", hint: "write the name of a service, or spiffe://DOMAIN/SERVICE" };
}

function parseNodeUrl(given: string): string | Refusal {
	return /^https?:\/\/[^/?#@\s]+$/.test(given) ? given : { refused: "is not the URL of a node", hint: "write http://HOST:PORT" };
}

const identityList = z.array(text(parseIdentity)).max(IDENTITIES_MAX);

const schema = z.strictObject({
	listen: text((given) => parseTcpAddress(given, 0)).optional(),
	data: z.string().min(1).max(4096).optional(),
	backups: z.string().min(1).max(4096).optional(),
	allowedHosts: z.array(z.string().min(1).max(253)).max(100).optional(),
	...engineKeys,
	...webhookKeys,
	cluster: z
		.strictObject({
			lease: within(parseDuration, LEASE_MIN_MS, LEASE_MAX_MS, "from 1s to 5m").optional(),
			url: text(parseNodeUrl).optional(),
		})
		.optional(),
	limits: z.strictObject({ maxEventBytes: within(parseSize, EVENT_BYTES, EVENT_BYTES_LIMIT, "from 64KiB to 1MiB").optional() }).optional(),
	authority: z
		.strictObject({
			dir: z.string().min(1).max(4096),
			certificateTtl: within(parseDuration, CERTIFICATE_TTL_MIN_MS, CERTIFICATE_TTL_MS, "from 1s to 24h").optional(),
		})
		.optional(),
	access: z
		.strictObject({
			anonymous: z.array(z.enum(ROLES)).max(ROLES.length).optional(),
			identities: z.strictObject({ read: identityList, ingest: identityList, operate: identityList }).partial().optional(),
		})
		.optional(),
});

/** Paths in the text are relative to `file`, which also stands in every place. */
export function loadNexusConfig(yaml: string, file: string, env: Env): ConfigResult {
	const lines = new LineIndex(yaml, file);
	const faults: TreeFault[] = [];
	const root = readYaml(yaml, faults);
	const given = root === undefined ? undefined : validate(zodShape(schema), normalised(toPlain(root, env, faults)), root, yaml, faults);
	const absolute = (path: string): string => resolve(dirname(file), path);
	const engines = given === undefined || root === undefined ? DEFAULT_ENGINES : engineConfig(given, root, faults, absolute);
	const webhooks = given === undefined || root === undefined ? NO_WEBHOOK_CERTIFICATES : webhookConfig(given, root, faults, absolute);
	if (given === undefined || faults.length > 0) return { ok: false, faults: faults.map((fault) => placed(fault, lines)) };
	const { listen, dataDir, allowedHosts, cluster, limits, access } = DEFAULT_CONFIG;
	const { authority } = given;
	return {
		ok: true,
		config: {
			listen: given.listen ?? listen,
			dataDir: given.data === undefined ? dataDir : absolute(given.data),
			backupsDir: given.backups === undefined ? undefined : absolute(given.backups),
			allowedHosts: given.allowedHosts ?? allowedHosts,
			...engines,
			cluster: { leaseMs: given.cluster?.lease ?? cluster.leaseMs, url: given.cluster?.url },
			limits: { eventBytesMax: given.limits?.maxEventBytes ?? limits.eventBytesMax },
			webhooks,
			authority:
				authority === undefined ? undefined : { dir: absolute(authority.dir), certificateTtlMs: authority.certificateTtl ?? CERTIFICATE_TTL_MS },
			access: {
				// Who has an authority wants callers that are known.
				anonymous: given.access?.anonymous ?? (authority === undefined && given.access === undefined ? access.anonymous : []),
				identities: given.access?.identities ?? access.identities,
				isStated: given.access !== undefined,
			},
		},
	};
}

/** Why Nexus must not listen there, undefined where it may. `hasTokens`: callers from elsewhere can show who they are. */
export function exposureFault({ listen, authority, access }: NexusConfig, hasTokens: boolean): string | undefined {
	if (isLoopback(listen.host) || listen.host === "localhost" || authority !== undefined || access.isStated || hasTokens) return undefined;
	return `${listen.host}:${listen.port} can be reached from other machines, and nothing says who may do what: configure \`authority: { dir: ... }\` (\`nexus ca init\` makes one) for TLS and identities, or \`access: { anonymous: [] }\` for tokens over plain text, or listen on 127.0.0.1`;
}

function placed({ span, path, message, hint }: TreeFault, lines: LineIndex): PolicyFault {
	return { place: lines.place(span.start), width: span.end - span.start, path: pathText(path), message, hint };
}
