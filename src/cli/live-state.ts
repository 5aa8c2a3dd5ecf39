/** The state of a running sidecar as its admin API tells it: fetched, or read from a file that was saved before. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { messageOf } from "../core/errors.ts";

const ENDPOINT = z.object({
	address: z.string(),
	weight: z.number(),
	zone: z.string().optional(),
	health: z.string(),
	activeRequests: z.number(),
	ejected: z.boolean().default(false),
	ejectedFor: z.string().default(""),
	ejectionEndsInMs: z.number().default(0),
	latencyMs: z.number().optional(),
});

const BREAKER = z.object({
	scope: z.enum(["upstream", "endpoint", "route"]),
	key: z.string(),
	state: z.enum(["closed", "open", "half-open"]),
	forced: z.string().optional(),
	counts: z.object({ consecutiveFailures: z.number(), requests: z.number(), failures: z.number(), slowCalls: z.number() }),
	lastErrors: z.array(z.string()),
	openLeftMs: z.number(),
});

const UPSTREAM = z.object({
	name: z.string(),
	resolved: z.boolean().default(true),
	endpoints: z.array(ENDPOINT),
	breakers: z.array(BREAKER).default([]),
	concurrency: z.object({ limit: z.number(), active: z.number(), pending: z.number() }).optional(),
	panic: z.boolean().default(false),
	retryBudget: z.object({ balance: z.number() }).optional(),
});

const LIMIT = z.object({
	direction: z.enum(["inbound", "outbound"]),
	place: z.string(),
	limit: z.string(),
	admitted: z.number(),
	rejected: z.number(),
	waiting: z.number(),
	keys: z.number(),
	shared: z.object({ available: z.boolean(), lastFailure: z.string() }).optional(),
});

const FAULT = z.object({
	name: z.string(),
	upstream: z.string(),
	source: z.enum(["policy", "lease"]),
	action: z.looseObject({ kind: z.string() }),
	percent: z.number(),
	endpoints: z.array(z.string()),
	endsInMs: z.number().nullable().default(null),
});

// What `GET /upstreams` gives is enough; limits and faults are known only where they were saved as well.
const STATE = z.object({
	upstreams: z.array(UPSTREAM),
	limits: z.array(LIMIT).default([]),
	faults: z.array(FAULT).default([]),
});

export type LiveState = z.infer<typeof STATE>;
export type LiveUpstream = LiveState["upstreams"][number];
export type LiveEndpoint = LiveUpstream["endpoints"][number];
export type LiveBreaker = LiveUpstream["breakers"][number];
export type LiveLimit = LiveState["limits"][number];
export type LiveFault = LiveState["faults"][number];

/** Also the text that `readStateFile` reads again. A string says what is wrong. */
export type StateResult = { readonly state: LiveState; readonly text: string } | string;

// A sidecar next door answers at once; one that does not is not asked longer than a person waits.
const TIMEOUT_MS = 5_000;

/** From the admin API at `url`, as in `http://127.0.0.1:15000`. */
export async function fetchLiveState(url: string): Promise<StateResult> {
	const base = URL.parse(url);
	if (base === null || !/^https?:$/.test(base.protocol)) return `${url} is not an http URL, as in http://127.0.0.1:15000`;
	try {
		const [upstreams, limits, faults] = await Promise.all([get(base, "/upstreams"), get(base, "/limits"), get(base, "/faults")]);
		const text = `${JSON.stringify({ takenAt: new Date().toISOString(), from: base.origin, ...upstreams, ...limits, ...faults }, null, 2)}\n`;
		return parse(text, base.origin);
	} catch (thrown) {
		const cause = thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown;
		return `no sidecar answers at ${base.origin}: ${messageOf(cause)}. Is it running, and is this its admin address?`;
	}
}

/** From a file: what `--save-state` wrote, or the output of `GET /upstreams`. */
export async function readStateFile(path: string): Promise<StateResult> {
	try {
		return parse(await readFile(path, "utf8"), path);
	} catch (thrown) {
		return `${path} cannot be read: ${messageOf(thrown)}`;
	}
}

async function get(base: URL, path: string): Promise<Record<string, unknown>> {
	const response = await fetch(new URL(path, base), { signal: AbortSignal.timeout(TIMEOUT_MS) });
	if (!response.ok) throw new Error(`GET ${path} gives status ${response.status}`);
	return (await response.json()) as Record<string, unknown>;
}

function parse(text: string, source: string): StateResult {
	let json: unknown;
	try {
		json = JSON.parse(text);
	} catch {
		return `${source} is not JSON; save the state with --save-state, or as the output of GET /upstreams`;
	}
	const parsed = STATE.safeParse(json);
	if (parsed.success) return { state: parsed.data, text };
	const [issue] = parsed.error.issues;
	const where = issue === undefined || issue.path.length === 0 ? "" : ` at ${issue.path.join(".")}`;
	return `${source} is not the state of a sidecar${where}: ${issue?.message ?? "it is empty"}`;
}
