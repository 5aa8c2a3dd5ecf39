/** `nexus explain`: what the sidecar would do with one request, offline, each line with the line of the policy behind it. */
import { buildPicker } from "../balance/build-picker.ts";
import type { Candidate } from "../balance/picker.ts";
import { REASONS } from "../core/reasons.ts";
import { seededRng } from "../core/rng.ts";
import { addressText } from "../policy/address-text.ts";
import { type ConsideredStep, type ExplainedRequest, explainRouting, placeText, type RoutingTrace } from "../policy/explain.ts";
import { explainJson, readExplainedRequest } from "../policy/explained-request.ts";
import { formatFaults } from "../policy/load.ts";
import { loadPolicyFile } from "../policy/load-file.ts";
import type { EndpointsPolicy, UpstreamPolicy } from "../policy/snapshot.ts";
import type { CliIo } from "./io.ts";

export interface ExplainOptions {
	readonly method: string;
	/** `http://host/path`, or a path together with a Host header. */
	readonly url: string;
	/** `name: value` each. */
	readonly header: readonly string[];
	readonly from?: string;
	readonly direction: "inbound" | "outbound";
	readonly json: boolean;
}

// Enough to see the rhythm of weights, little enough for one line.
const PICKS = 8;
// A person reads a screenful; `--json` has all of them.
const ROUTES_SHOWN_MAX = 40;

/** Resolves with 0 where a decision could be told (also a refusal), 1 where policy or request is wrong. */
export async function runExplain(file: string, options: ExplainOptions, io: CliIo): Promise<number> {
	const request = readExplainedRequest(options);
	if (typeof request === "string") {
		io.stderr.write(`--${request}\n`);
		return 1;
	}
	const { text, result } = await loadPolicyFile(file, process.env, 1);
	if (!result.ok) {
		io.stderr.write(formatFaults(result.faults, text, { color: io.colour }));
		return 1;
	}
	const trace = explainRouting(result.snapshot, request);
	if (trace.outcome === undefined) {
		io.stderr.write(`${file}: the policy has no \`${request.direction}\` section, so no listener takes this request\n`);
		return 1;
	}
	const choice = trace.outcome.kind === "upstream" ? explainEndpoints(trace.outcome.upstream) : undefined;
	io.stdout.write(options.json ? `${JSON.stringify(toJson(request, trace, choice), null, 2)}\n` : render(request, trace, choice, io));
	return 0;
}

interface EndpointLine extends Candidate {
	readonly address: string;
	readonly zone: string | undefined;
	/** Part of the requests that it gets in the long run, 0..1, while all are healthy and equally busy. */
	readonly share: number;
}

interface EndpointChoice {
	readonly source: string;
	readonly candidates: readonly EndpointLine[];
	/** What a fresh picker takes first; where it begins is random in each sidecar. */
	readonly picks: readonly string[];
}

function explainEndpoints({ endpoints, loadBalancing }: UpstreamPolicy): EndpointChoice {
	if (endpoints.kind !== "static") return { source: sourceText(endpoints), candidates: [], picks: [] };
	const total = endpoints.endpoints.reduce((sum, { weight }) => sum + weight, 0);
	const candidates = endpoints.endpoints.map(({ address, weight, zone }) => ({
		key: addressText(address),
		address: addressText(address),
		weight,
		zone,
		activeRequests: 0,
		latency: undefined,
		share: weight / total,
	}));
	const picker = buildPicker(loadBalancing, candidates, seededRng(1));
	const picks = candidates.length === 1 ? [] : Array.from({ length: PICKS }, () => picker.pick()?.address ?? "none");
	return { source: sourceText(endpoints), candidates, picks };
}

function sourceText(endpoints: EndpointsPolicy): string {
	switch (endpoints.kind) {
		case "static":
			return endpoints.endpoints.length === 1 ? "1 endpoint" : `${endpoints.endpoints.length} endpoints`;
		case "file":
			return `endpoints from the file ${endpoints.path}, read when the sidecar runs`;
		case "dns": {
			const port = endpoints.port === undefined ? "" : `, port ${endpoints.port}`;
			return `endpoints from DNS (${endpoints.type} of ${endpoints.name}${port}), resolved every ${endpoints.refreshMs / 1000} s when the sidecar runs`;
		}
	}
}

function render(request: ExplainedRequest, trace: RoutingTrace, choice: EndpointChoice | undefined, io: CliIo): string {
	const rows: Row[] = [];
	const title = `${request.method} ${request.host === "" ? "" : `http://${request.host}`}${request.path} (${request.direction})`;
	for (const step of trace.steps) rows.push({ mark: "", text: step.text, place: placeText(step.place) });
	rows.push(...routeRows(trace.considered));
	const { outcome } = trace;
	if (outcome !== undefined) rows.push({ mark: "=>", text: outcome.because.text, place: placeText(outcome.because.place) });
	if (outcome?.kind === "refused") rows.push({ mark: "", text: `answer: ${REASONS[outcome.reason].status} ${outcome.reason}`, place: "" });
	if (outcome?.kind === "upstream" && choice !== undefined) rows.push(...upstreamRows(outcome.upstream, choice, outcome.route?.rewriteHost));
	return `${title}\n${layout(rows, io)}`;
}

interface Row {
	readonly mark: string;
	readonly text: string;
	readonly place: string;
}

function routeRows(considered: readonly ConsideredStep[]): Row[] {
	// Routes for other hosts say least, so they go first where there are too many.
	const shown = considered.length <= ROUTES_SHOWN_MAX ? considered : considered.filter((c) => c.verdict.kind !== "host").slice(0, ROUTES_SHOWN_MAX);
	const rows = shown.map((step) => ({
		mark: step.verdict.kind === "matched" ? "yes" : step.verdict.kind === "later" ? "-" : "no",
		text: `route ${step.route}: ${step.text}`,
		place: placeText(step.place),
	}));
	if (shown.length < considered.length) rows.push({ mark: "no", text: `${considered.length - shown.length} further routes (see --json)`, place: "" });
	return rows;
}

function upstreamRows(upstream: UpstreamPolicy, choice: EndpointChoice, rewriteHost: string | undefined): Row[] {
	const place = placeText(upstream.place);
	const rows: Row[] = [{ mark: "=>", text: `upstream ${upstream.name}: ${upstream.loadBalancing} over ${choice.source}`, place }];
	for (const { address, weight, zone, share } of choice.candidates) {
		const where = zone === undefined ? "" : `, zone ${zone}`;
		const part = upstream.loadBalancing === "least-connections" ? "" : `, ${(share * 100).toFixed(1)} % of the requests`;
		rows.push({ mark: "", text: `  ${address}: weight ${weight}${where}${part}`, place });
	}
	if (choice.picks.length !== 0) rows.push({ mark: "", text: `next, from a fresh picker: ${choice.picks.join(" ")}`, place });
	const check = upstream.healthCheck;
	if (check === undefined) rows.push({ mark: "", text: "no health check: every endpoint counts as healthy", place });
	else {
		const what = check.kind === "tcp" ? "a connection" : `GET ${check.path}`;
		rows.push({ mark: "", text: `an endpoint takes part while ${what} succeeds, every ${check.intervalMs} ms`, place: placeText(check.place) });
	}
	if (rewriteHost !== undefined) rows.push({ mark: "", text: `the Host field becomes ${rewriteHost}`, place });
	const { connectMs, requestMs, idleMs } = upstream.timeout;
	rows.push({ mark: "", text: `timeouts: connect ${connectMs} ms, request ${requestMs} ms, idle ${idleMs} ms`, place });
	return rows;
}

function layout(rows: readonly Row[], { colour }: CliIo): string {
	const width = Math.max(0, ...rows.map((row) => row.place.length));
	return rows
		.map(({ mark, text, place }) => {
			const padded = mark.padEnd(3);
			const painted = colour && mark === "yes" ? `\x1b[32m${padded}\x1b[39m` : padded;
			const source = place.padEnd(width);
			return `  ${colour ? `\x1b[2m${source}\x1b[22m` : source}  ${painted} ${text}\n`;
		})
		.join("");
}

function toJson(request: ExplainedRequest, trace: RoutingTrace, choice: EndpointChoice | undefined): unknown {
	return {
		...explainJson(request, trace),
		endpoints: choice && {
			source: choice.source,
			candidates: choice.candidates.map(({ address, weight, zone, share }) => ({ address, weight, zone, share })),
			picks: choice.picks,
		},
	};
}
