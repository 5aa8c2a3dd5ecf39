/** The body of `PUT /faults/NAME`: judged by the very rules of the policy's `fault`, with the same words for what is wrong. */
import { compileFaults } from "../../policy/compile-resilience.ts";
import { isRefusal, LineIndex } from "../../policy/fault.ts";
import { Places } from "../../policy/places.ts";
import type { FaultPolicy } from "../../policy/resilience-policy.ts";
import { type FaultConfig, faultKinds, fault as faultSchema } from "../../policy/schema-resilience.ts";
import { name as nameOf, required } from "../../policy/schema-values.ts";
import { object } from "../../policy/shape.ts";
import { pathText, type TreeFault } from "../../policy/tree.ts";
import { validate } from "../../policy/validate.ts";
import { parseName } from "../../policy/values.ts";
import { jsonTree } from "./json-tree.ts";

/** What is wrong with a body. It stands in no file, so it has no place. */
export interface LeaseFault {
	/** `delay.duration`; empty for the body as a whole. */
	readonly path: string;
	readonly message: string;
	readonly hint: string;
}

export type LeaseResult = { readonly ok: true; readonly fault: FaultPolicy } | { readonly ok: false; readonly faults: readonly LeaseFault[] };

// Nobody who looks at a sidecar tomorrow should have to wonder why it fails on purpose.
const LEASE_MS_MAX = 24 * 3_600_000;

const HINT = 'send one object: {"upstream": "NAME", "abort": {"percent": 30}, "for": "10m"}';
const KINDS = Object.keys(faultKinds) as (keyof typeof faultKinds)[];

const { name: _, ...faultKeys } = faultSchema.fields;
const leaseSchema = object({
	...faultKeys,
	upstream: required(nameOf, "The upstream whose attempts it befalls."),
});

/** `name` as in the path, `json` what the body says; `wallMs` when it came, from which `for` counts. */
export function readFaultLease(name: string, json: unknown, wallMs: number): LeaseResult {
	const parsedName = parseName(name);
	if (isRefusal(parsedName)) return refused("name", `\`${name}\` ${parsedName.refused}`, parsedName.hint);
	const tree = jsonTree(json);
	if (typeof tree === "string") return refused("", tree, HINT);
	const faults: TreeFault[] = [];
	const lease = validate(leaseSchema, tree.plain, tree.root, tree.text, faults);
	if (lease === undefined) return { ok: false, faults: faults.map(({ path, message, hint }) => ({ path: pathText(path), message, hint })) };
	const { upstream, ...config } = lease;
	const wrong = crossCheck(config, wallMs);
	if (wrong !== undefined) return { ok: false, faults: [wrong] };
	const [fault] = compileFaults({ ...config, name: parsedName }, upstream, [], new Places(tree.root, new LineIndex(tree.text, "")), wallMs);
	if (fault === undefined) throw new Error("a lease with one kind compiles to one fault");
	// Its end is known here: said again, it is a new lease, and not one that a reload has read again.
	return { ok: true, fault: { ...fault, place: undefined, forMs: undefined } };
}

/** What no single key shows. */
function crossCheck(lease: Omit<FaultConfig, "name">, wallMs: number): LeaseFault | undefined {
	const kinds = KINDS.filter((kind) => lease[kind] !== undefined);
	if (kinds.length !== 1) {
		const message = kinds.length === 0 ? "nothing is said of what happens" : `${kinds.join(" and ")} are ${kinds.length} faults`;
		return { path: "", message, hint: `give one of ${KINDS.join(", ")}` };
	}
	const { for: forMs, expiresAt } = lease;
	if ((forMs === undefined) === (expiresAt === undefined)) {
		const message = forMs === undefined ? "the lease has no end" : "the lease has two ends";
		return { path: "", message, hint: 'give one of `for: "10m"` and `expiresAt`, at most 24h ahead' };
	}
	if (expiresAt === undefined) return undefined;
	if (expiresAt <= wallMs) return { path: "expiresAt", message: "`expiresAt` is past", hint: `here it is ${new Date(wallMs).toISOString()}` };
	return expiresAt - wallMs > LEASE_MS_MAX ? { path: "expiresAt", message: "`expiresAt` is too far away", hint: "at most 24h" } : undefined;
}

function refused(path: string, message: string, hint: string): LeaseResult {
	return { ok: false, faults: [{ path, message, hint }] };
}
