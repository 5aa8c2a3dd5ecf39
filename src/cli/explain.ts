/** `nexus explain`: what the sidecar would do with one request, each decision with the line of the policy behind it. */
import { writeFile } from "node:fs/promises";
import { messageOf } from "../core/errors.ts";
import { explainRequest } from "../identity/authorization/explain-request.ts";
import type { Decision } from "../policy/decision-trace.ts";
import type { ExplainedRequest, RoutingTrace } from "../policy/explain.ts";
import { explainJson, readExplainedRequest } from "../policy/explained-request.ts";
import { formatFaults } from "../policy/load.ts";
import { loadPolicyAsRun } from "../policy/load-as-run.ts";
import { printable } from "./event-line.ts";
import type { CliIo } from "./io.ts";
import { decisionTree } from "./trace-text.ts";

export interface ExplainOptions {
	readonly method: string;
	/** `http://host/path`, or a path together with a Host header. */
	readonly url: string;
	/** `name: value` each. */
	readonly header: readonly string[];
	readonly from?: string;
	readonly direction: "inbound" | "outbound";
	/** Admin API of a sidecar whose state is added. */
	readonly live?: string;
	/** A file with such a state, instead. */
	readonly state?: string;
	/** Where the state of `live` is kept. */
	readonly saveState?: string;
	/** Undefined: where the output is no terminal. */
	readonly json?: boolean;
	readonly text?: boolean;
}

// A person reads a screenful; `--json` has all of them.
const ROUTES_SHOWN_MAX = 40;

/** Resolves with 0 where a decision could be told (also a refusal), 1 where policy, request or state is wrong. */
export async function runExplain(file: string, options: ExplainOptions, io: CliIo): Promise<number> {
	const request = readExplainedRequest(options);
	if (typeof request === "string") return refuse(io, `--${request}`);
	const { text, result, note } = await loadPolicyAsRun(file, process.env, 1);
	if (note !== undefined) io.stderr.write(`${note}\n`);
	if (!result.ok) {
		io.stderr.write(formatFaults(result.faults, text, { color: io.colour }));
		return 1;
	}
	const trace = explainRequest(result.snapshot, request);
	if (trace.outcome === undefined)
		return refuse(io, `${file}: the policy has no \`${request.direction}\` section, so no listener takes this request`);
	const decisions = await decisionsOf(trace, request, options);
	if (typeof decisions === "string") return refuse(io, decisions);
	const asJson = options.json === true || (options.text !== true && !io.stdout.isTTY);
	io.stdout.write(asJson ? `${JSON.stringify({ ...explainJson(request, trace), decisions }, null, 2)}\n` : render(request, decisions, io));
	return 0;
}

/** A string says what is wrong with the state. */
async function decisionsOf(
	trace: RoutingTrace,
	request: ExplainedRequest,
	{ live, state: stateFile, saveState }: ExplainOptions,
): Promise<Decision[] | string> {
	if (live !== undefined && stateFile !== undefined) return "--live asks a sidecar and --state reads a file: give one of them";
	if (saveState !== undefined && live === undefined) return "--save-state keeps what a sidecar says: add --live http://127.0.0.1:15000";
	// Loaded only here: most requests are explained without a sidecar, and the schema of its state takes a while to load.
	const { wholeTrace } = await import("./explain-live.ts");
	if (live === undefined && stateFile === undefined) return wholeTrace(trace, request, undefined);
	const { fetchLiveState, readStateFile } = await import("./live-state.ts");
	const read = live === undefined ? await readStateFile(stateFile ?? "") : await fetchLiveState(live);
	if (typeof read === "string") return live === undefined ? `--state ${read}` : `--live ${read}`;
	if (saveState !== undefined) {
		try {
			await writeFile(saveState, read.text);
		} catch (thrown) {
			return `--save-state ${saveState} cannot be written: ${messageOf(thrown)}`;
		}
	}
	return wholeTrace(trace, request, read.state);
}

function render(request: ExplainedRequest, decisions: readonly Decision[], { colour }: CliIo): string {
	const { method, host, path, query, direction } = request;
	const title = printable(`${method} ${host === "" ? "" : `http://${host}`}${path}${query} (${direction})`);
	return `${title}\n${decisionTree(shortened(decisions), { colour, times: false })}`;
}

/** Routes for other hosts say least, so they go first where there are too many. */
function shortened(decisions: readonly Decision[]): Decision[] {
	const isConsidered = ({ stage, data }: Decision): boolean => stage === "route" && data?.why !== undefined;
	const considered = decisions.filter(isConsidered);
	if (considered.length <= ROUTES_SHOWN_MAX) return [...decisions];
	const shown = new Set(considered.filter(({ data }) => data?.why !== "host").slice(0, ROUTES_SHOWN_MAX));
	const text = `${considered.length - shown.size} further routes (see --json)`;
	const rest: Decision = { stage: "route", verdict: "no", atMs: 0, text, place: undefined, data: undefined };
	const last = decisions.findLastIndex(isConsidered);
	return decisions.flatMap((decision, i) => {
		const kept = !isConsidered(decision) || shown.has(decision) ? [decision] : [];
		return i === last ? [...kept, rest] : kept;
	});
}

function refuse(io: CliIo, message: string): number {
	io.stderr.write(`${message}\n`);
	return 1;
}
