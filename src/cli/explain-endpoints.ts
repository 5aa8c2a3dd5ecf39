/** Which endpoint an upstream would pick, offline: by the pickers that the sidecar runs, with every endpoint healthy and idle. */
import { buildPicker } from "../balance/build-picker.ts";
import type { Candidate } from "../balance/picker.ts";
import { seededRng } from "../core/rng.ts";
import { type Hash64, xxh64 } from "../core/xxh64.ts";
import { addressText } from "../policy/address-text.ts";
import type { Decision, DecisionData } from "../policy/decision-trace.ts";
import type { ExplainedRequest } from "../policy/explain.ts";
import type { BalancingKind, EndpointPolicy, EndpointsPolicy, HealthCheckPolicy, UpstreamPolicy } from "../policy/snapshot.ts";
import type { HashKey } from "../policy/traffic-policy.ts";

// Enough to see the rhythm of weights, little enough for one line.
const PICKS = 8;
// Where the shares follow from the weights alone.
const BY_WEIGHT: ReadonlySet<BalancingKind> = new Set<BalancingKind>(["round-robin", "weighted", "random"]);
const HASHING: ReadonlySet<BalancingKind> = new Set<BalancingKind>(["ring-hash", "maglev"]);

/** What a picker is built from here. */
export interface EndpointChoice {
	readonly address: string;
	readonly weight: number;
}

/** The endpoints that the policy names, what would be picked among them, and what takes one out. `isLive`: the first two are known better. */
export function endpointDecisions(upstream: UpstreamPolicy, request: ExplainedRequest, isLive: boolean): Decision[] {
	const { endpoints, healthCheck, place } = upstream;
	const decisions: Decision[] = [];
	const tell = (text: string, where = place, data?: DecisionData): void => {
		decisions.push({ stage: "pick", verdict: "note", atMs: 0, text, place: where, data });
	};
	if (endpoints.kind !== "static") tell(sourceText(endpoints));
	else if (!isLive) {
		tell("its endpoints, while all of them are healthy", place, { candidates: candidatesOf(upstream, endpoints.endpoints) });
		const choices = endpoints.endpoints.map(({ address, weight }) => ({ address: addressText(address), weight }));
		const text = pickedText(upstream, request, choices);
		if (text !== undefined) tell(text);
	}
	if (healthCheck === undefined) tell("no health check: every endpoint counts as healthy");
	else tell(healthText(healthCheck), healthCheck.place);
	return decisions;
}

function candidatesOf(upstream: UpstreamPolicy, endpoints: readonly EndpointPolicy[]): DecisionData[] {
	const total = endpoints.reduce((sum, { weight }) => sum + weight, 0);
	const hasShares = BY_WEIGHT.has(upstream.loadBalancing) && !isArranged(upstream);
	return endpoints.map(({ address, weight, zone, priority = 0 }) => ({
		endpoint: addressText(address),
		weight,
		...(zone === undefined ? {} : { zone }),
		...(priority === 0 ? {} : { priority }),
		...(hasShares ? { share: `${((weight / total) * 100).toFixed(1)} %` } : {}),
	}));
}

/** Whether more than the weights decides who takes part: priorities or zones, which go by the health of all. */
function isArranged({ endpoints, balancing }: UpstreamPolicy): boolean {
	return balancing.zoneAware || (endpoints.kind === "static" && endpoints.endpoints.some(({ priority = 0 }) => priority > 0));
}

/** What would be picked now among these, where the policy and the request decide it; undefined where load or chance do. */
export function pickedText(upstream: UpstreamPolicy, request: ExplainedRequest, choices: readonly EndpointChoice[]): string | undefined {
	const { loadBalancing, balancing } = upstream;
	if (choices.length < 2 || isArranged(upstream)) return undefined;
	const candidates: Candidate[] = choices.map(({ address, weight }) => ({ key: address, weight, activeRequests: 0, latency: undefined }));
	const settings = { ringSizeMin: balancing.ringSizeMin, tableSize: balancing.tableSize, now: () => 0 };
	if (HASHING.has(loadBalancing)) {
		const hash = hashOf(balancing.hashOn, request);
		if (hash === undefined) return "the request does not have what is hashed: one is drawn at random";
		const picked = buildPicker(loadBalancing, candidates, seededRng(1), undefined, settings).pick(undefined, hash);
		return picked === undefined ? undefined : `this request goes to ${picked.key}`;
	}
	if (!BY_WEIGHT.has(loadBalancing)) return undefined;
	const picker = buildPicker(loadBalancing, candidates, seededRng(1), undefined, settings);
	return `next, from a fresh picker: ${Array.from({ length: PICKS }, () => picker.pick()?.key ?? "none").join(" ")}`;
}

function hashOf(key: HashKey | undefined, request: ExplainedRequest): Hash64 | undefined {
	const text = key === undefined ? undefined : hashedText(key, request);
	return text === undefined ? undefined : xxh64(text);
}

function hashedText(key: HashKey, { headers, path, from }: ExplainedRequest): string | undefined {
	switch (key.kind) {
		case "header":
			return headers.get(key.name);
		case "cookie": {
			const pairs = (headers.get("cookie") ?? "").split(";").map((pair) => pair.split("="));
			return pairs
				.find(([name = "", value]) => name.trim() === key.name && value !== undefined)
				?.slice(1)
				.join("=")
				.trim();
		}
		case "ip":
			return from;
		case "path":
			return path;
	}
}

function sourceText(endpoints: Exclude<EndpointsPolicy, { kind: "static" }>): string {
	if (endpoints.kind === "registry") return `the instances of ${endpoints.service} that have registered at Nexus`;
	if (endpoints.kind === "file") return `endpoints from the file ${endpoints.path}, read when the sidecar runs`;
	const port = endpoints.port === undefined ? "" : `, port ${endpoints.port}`;
	return `endpoints from DNS (${endpoints.type} of ${endpoints.name}${port}), resolved every ${endpoints.refreshMs / 1000} s when the sidecar runs`;
}

function healthText({ kind, path, intervalMs }: HealthCheckPolicy): string {
	return `an endpoint takes part while ${kind === "tcp" ? "a connection" : `GET ${path}`} succeeds, every ${intervalMs} ms`;
}
