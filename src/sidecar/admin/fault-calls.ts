/** `/faults` of the admin API: what is injected on purpose, and leases put on and taken away. */
import type { Clock } from "../../core/clock.ts";
import { assertNever } from "../../core/errors.ts";
import type { FaultPolicy } from "../../policy/resilience-policy.ts";
import { type Problem, sendJson, sendProblem } from "../../server/problem.ts";
import { redact } from "../../telemetry/redact.ts";
import type { FaultView, PutResult } from "../faults.ts";
import { readFaultLease } from "./fault-lease.ts";
import { readJson } from "./request-json.ts";
import type { AdminEndpoint, Call } from "./router.ts";
import type { AdminView } from "./view.ts";

// A hint, not a listing.
const NAMES_SHOWN_MAX = 20;

export function faultEndpoints(view: AdminView, clock: Clock): readonly AdminEndpoint[] {
	return [
		{
			method: "GET",
			path: "/faults",
			summary: "faults in force, of the policy and leases",
			run: ({ res }) => sendJson(res, 200, listed(view.faults.list())),
		},
		{ method: "GET", path: "/faults/NAME", summary: "one of them", run: (call) => show(view, call) },
		{
			method: "PUT",
			path: "/faults/NAME",
			summary: 'inject a fault for a while: {"upstream": "x", "abort": {"percent": 30, "status": 503}, "for": "10m"}',
			run: (call) => put(view, clock, call),
		},
		{ method: "DELETE", path: "/faults/NAME", summary: "end a lease at once", run: (call) => remove(view, call) },
	];
}

/** As `/faults` and `/config` show them. */
export function listed(faults: readonly FaultView[]): { readonly faults: unknown } {
	return { faults: redact(faults) };
}

function show({ faults }: AdminView, { res, name }: Call): void {
	const fault = faults.list().find((one) => one.name === name);
	if (fault === undefined) unknown(res, name);
	else sendJson(res, 200, redact(fault));
}

async function put({ faults }: AdminView, clock: Clock, { req, res, name }: Call): Promise<void> {
	const body = await readJson(req);
	if (!body.ok) {
		sendProblem(res, body.problem);
		return;
	}
	const lease = readFaultLease(name, body.json, clock.wallMs());
	if (!lease.ok) {
		const title = "The fault is not well-formed; nothing has changed.";
		sendProblem(res, { status: 422, title, reason: "invalid_fault", extensions: { faults: lease.faults } });
		return;
	}
	const result = faults.put(lease.fault);
	if ("fault" in result) sendJson(res, result.kind === "added" ? 201 : 200, redact(result.fault));
	else sendProblem(res, refusal(lease.fault, result));
}

function refusal({ name, upstream }: FaultPolicy, result: Exclude<PutResult, { readonly fault: FaultView }>): Problem {
	switch (result.kind) {
		case "no_upstream": {
			const known = result.known.slice(0, NAMES_SHOWN_MAX).join(", ");
			const hint = known === "" ? "It has none." : `It has ${known}${result.known.length > NAMES_SHOWN_MAX ? ", ..." : ""}.`;
			return { status: 422, title: `The policy has no upstream named ${JSON.stringify(upstream)}.`, hint, reason: "no_upstream" };
		}
		case "in_policy":
			return writtenInPolicy(name, result.place);
		case "too_many": {
			const hint = "End one of them with DELETE /faults/NAME; GET /faults lists them.";
			return { status: 409, title: `There are ${result.max} leases already.`, hint, reason: "too_many_faults" };
		}
		default:
			return assertNever(result);
	}
}

function remove({ faults }: AdminView, { res, name }: Call): void {
	const result = faults.remove(name);
	if (result.kind === "removed") sendJson(res, 200, { name, removed: true });
	else if (result.kind === "unknown") unknown(res, name);
	else sendProblem(res, writtenInPolicy(name, result.place));
}

function writtenInPolicy(name: string, place: string): Problem {
	const title = `The fault ${JSON.stringify(name)} is written in the policy.`;
	return { status: 409, title, detail: place, hint: "Change it there, or choose another name.", reason: "fault_in_policy" };
}

function unknown(res: Call["res"], name: string): void {
	const title = `No fault named ${JSON.stringify(name)} is in force.`;
	sendProblem(res, { status: 404, title, hint: "GET /faults lists them; a lease that has ended is gone.", reason: "not_found" });
}
