/** What the state of a running sidecar adds to the trace of a request: each fact as a decision behind the rule that it belongs to. */
import { REASONS, type Reason } from "../core/reasons.ts";
import type { Decision, DecisionStage, DecisionVerdict } from "../policy/decision-trace.ts";
import { durationText } from "../policy/duration-text.ts";
import type { ExplainedRequest, RoutingTrace } from "../policy/explain.ts";
import type { FallbackPolicy } from "../policy/resilience-policy.ts";
import type { RoutePolicy, UpstreamPolicy } from "../policy/snapshot.ts";
import { endpointDecisions, pickedText } from "./explain-endpoints.ts";
import type { LiveBreaker, LiveEndpoint, LiveFault, LiveLimit, LiveState, LiveUpstream } from "./live-state.ts";

/** A request's life, as `DecisionStage` has it. */
const LIFE: readonly DecisionStage[] = [
	"caller",
	"authorize",
	"limit",
	"route",
	"mirror",
	"deadline",
	"concurrency",
	"breaker",
	"pick",
	"fault",
	"attempt",
	"retry",
	"hedge",
	"answer",
];

/** The whole story: the decisions of the policy, the endpoints, the live state where there is one, and the answer where it is known. */
export function wholeTrace(trace: RoutingTrace, request: ExplainedRequest, state: LiveState | undefined): Decision[] {
	const { outcome } = trace;
	let decisions: Decision[] = [...trace.decisions];
	if (outcome === undefined) return decisions;
	if (state !== undefined) decisions = decisions.flatMap((decision) => [decision, ...limitsOf(decision, request, state)]);
	if (outcome.kind === "refused") return [...decisions, answer("no", answerText(outcome.reason), outcome.because.place)];
	if (outcome.kind === "upstream") return withUpstream(decisions, "", outcome.upstream, outcome.route, request, state);
	if (outcome.kind !== "split") return decisions;
	for (const { upstream } of outcome.destinations) decisions = withUpstream(decisions, `${upstream.name}: `, upstream, outcome.route, request, state);
	return decisions;
}

/** `prefix` begins the texts of decisions about this upstream, where there are several. */
function withUpstream(
	decisions: readonly Decision[],
	prefix: string,
	upstream: UpstreamPolicy,
	route: RoutePolicy | undefined,
	request: ExplainedRequest,
	state: LiveState | undefined,
): Decision[] {
	const live = state?.upstreams.find(({ name }) => name === upstream.name);
	const added: Decision[] = endpointDecisions(upstream, request, live?.resolved === true);
	if (state !== undefined && live === undefined) added.push(now("pick", "note", "the running sidecar does not know this upstream"));
	if (state !== undefined && live !== undefined) added.push(...upstreamNow(live, upstream, route, request, state.faults));
	let merged: readonly Decision[] = decisions;
	for (const decision of added) merged = insert(merged, { ...decision, text: prefix + decision.text }, prefix);
	return [...merged];
}

/** Behind the last decision of its stage about the same upstream, or of an earlier stage. */
function insert(decisions: readonly Decision[], decision: Decision, prefix: string): readonly Decision[] {
	const rank = LIFE.indexOf(decision.stage);
	// Decisions about another upstream of a split stand behind or before, never between.
	const isOwn = ({ stage, text }: Decision): boolean =>
		LIFE.indexOf(stage) <= rank && (text.startsWith(prefix) || LIFE.indexOf(stage) <= LIFE.indexOf("route"));
	const at = decisions.findLastIndex(isOwn) + 1;
	return [...decisions.slice(0, at), decision, ...decisions.slice(at)];
}

function upstreamNow(
	live: LiveUpstream,
	upstream: UpstreamPolicy,
	route: RoutePolicy | undefined,
	request: ExplainedRequest,
	faults: readonly LiveFault[],
): Decision[] {
	const { concurrency, retryBudget, panic } = live;
	const decisions: Decision[] = [];
	if (concurrency !== undefined) {
		const { limit, active, pending } = concurrency;
		decisions.push(now("concurrency", active < limit ? "yes" : "no", `${active} of ${limit} requests under way, ${pending} waiting`));
	}
	const breakers = live.breakers.filter(({ scope, key }) => scope !== "route" || key === (route?.name ?? ""));
	for (const breaker of breakers) decisions.push(now("breaker", breaker.state === "open" ? "no" : "yes", breakerText(breaker)));
	const usable = live.endpoints.filter(isUsable);
	const picked = panic ? live.endpoints : usable;
	decisions.push(endpointsNow(live, usable));
	const text = HAS_STATE.has(upstream.loadBalancing) ? undefined : pickedText(upstream, request, picked);
	if (text !== undefined) decisions.push(now("pick", "note", text));
	for (const fault of faults) if (fault.upstream === live.name && fault.source === "lease") decisions.push(now("fault", "note", faultText(fault)));
	if (retryBudget !== undefined) {
		const tries = Math.floor(retryBudget.balance);
		decisions.push(now("retry", tries > 0 ? "yes" : "no", `the budget would grant ${tries} tries`));
	}
	const open = breakers.find(({ scope, state }) => scope !== "endpoint" && state === "open");
	if (open !== undefined) decisions.push(refusal("breaker_open", upstream, upstream.circuitBreaker?.fallback));
	else if (picked.length === 0) decisions.push(refusal("no_healthy_endpoint", upstream, undefined));
	return decisions;
}

// Their next pick hangs on where they stand, which nobody outside can see.
const HAS_STATE: ReadonlySet<string> = new Set(["round-robin", "weighted", "random"]);

function endpointsNow({ endpoints, panic, resolved }: LiveUpstream, usable: readonly LiveEndpoint[]): Decision {
	if (!resolved) return now("pick", "no", "its source has given no endpoints yet");
	const candidates = endpoints.map(({ address, weight, zone, health, activeRequests, latencyMs, ejected, ejectedFor, ejectionEndsInMs }) => ({
		endpoint: address,
		weight,
		...(zone === undefined ? {} : { zone }),
		health,
		active: activeRequests,
		...(latencyMs === undefined ? {} : { score: `${latencyMs.toFixed(1)} ms` }),
		...(ejected ? { ejected: `for ${about(ejectionEndsInMs)}${ejectedFor === "" ? "" : `, ${ejectedFor}`}` } : {}),
	}));
	const text = `${usable.length} of ${endpoints.length} endpoints usable${panic ? "; so few that all are used (panic)" : ""}`;
	return { ...now("pick", usable.length > 0 || panic ? "yes" : "no", text), data: { candidates } };
}

/** A time that is left, as exact as a person wants it. */
function about(ms: number): string {
	return durationText(ms < 1000 ? Math.ceil(ms) : Math.round(ms / 100) * 100);
}

function isUsable({ health, ejected }: LiveEndpoint): boolean {
	return health !== "unhealthy" && !ejected;
}

function breakerText({ scope, key, state, forced, counts, lastErrors, openLeftMs }: LiveBreaker): string {
	const which = key === "" ? "circuit breaker" : `circuit breaker of ${scope} ${key}`;
	const held = forced === undefined ? "" : " (held so by hand)";
	const { consecutiveFailures, requests, failures } = counts;
	const left = state === "open" && openLeftMs > 0 ? `, probes in ${about(openLeftMs)}` : "";
	const window = requests === 0 ? "" : `, ${failures} of ${requests} in its window failed`;
	const errors = lastErrors.length === 0 ? "" : `; last errors ${counted(lastErrors).join(", ")}`;
	return `${which} is ${state}${held}${left}: ${consecutiveFailures} failures in a row${window}${errors}`;
}

/** The same one after another stands once, with its number. */
function counted(texts: readonly string[]): string[] {
	const runs: { text: string; count: number }[] = [];
	for (const text of texts) {
		const last = runs.at(-1);
		if (last?.text === text) last.count++;
		else runs.push({ text, count: 1 });
	}
	return runs.map(({ text, count }) => (count === 1 ? text : `${text} x${count}`));
}

function faultText({ name, action, percent, endpoints, endsInMs }: LiveFault): string {
	const at = endpoints.length === 0 ? "" : ` at ${endpoints.join(", ")}`;
	const end = endsInMs === null ? "" : `, for another ${about(endsInMs)}`;
	return `lease ${name}: ${action.kind} for ${percent} % of the attempts${at}${end}`;
}

/** Behind a limit of the policy: what the limiter of that name has judged. */
function limitsOf({ stage, data }: Decision, { direction }: ExplainedRequest, { limits }: LiveState): Decision[] {
	if (stage !== "limit" || typeof data?.name !== "string") return [];
	return limits
		.filter(({ limit, direction: side }) => limit === data.name && side === direction)
		.map((limit) => now("limit", "note", limitText(limit)));
}

function limitText({ admitted, rejected, waiting, keys, shared }: LiveLimit): string {
	const queue = waiting === 0 ? "" : `, ${waiting} waiting`;
	const redis = shared === undefined || shared.available ? "" : `; Redis is away (${shared.lastFailure})`;
	return `${admitted} admitted and ${rejected} refused so far, ${keys} ${keys === 1 ? "bucket" : "buckets"}${queue}${redis}`;
}

function refusal(reason: Reason, { name, place }: UpstreamPolicy, fallback: FallbackPolicy | undefined): Decision {
	if (fallback?.kind === "failover") return answer("note", `${reason}: ${fallback.upstreams.join(", then ")} is asked instead of ${name}`, place);
	if (fallback?.kind === "respond") return answer("note", `${reason}: answered with ${fallback.respond.status} of the fallback`, place);
	return answer("no", `now: ${answerText(reason)}`, place);
}

function answerText(reason: Reason): string {
	return `${REASONS[reason].status} ${reason}. ${REASONS[reason].hint}`.replace(/\.$/, "");
}

function answer(verdict: DecisionVerdict, text: string, place: Decision["place"]): Decision {
	return { stage: "answer", verdict, atMs: 0, text, place, data: undefined };
}

function now(stage: DecisionStage, verdict: DecisionVerdict, text: string): Decision {
	return { stage, verdict, atMs: 0, text: `now: ${text}`, place: undefined, data: undefined };
}
