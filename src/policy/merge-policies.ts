/**
 * `policies:` put into the upstreams that they speak about, while everything still remembers where it stands: what comes out is a tree
 * as if each upstream had been written in full, with the places of the entries that filled it.
 */
import type { Env } from "./env.ts";
import { policyKeys } from "./schema-upstream.ts";
import { type ListNode, type MapEntry, type MapNode, type Node, type TreeFault, toPlain } from "./tree.ts";

// A screenful of entries for each of thousands of upstreams; more would hold up the event loop.
const FILLS_MAX = 100_000;

const KEYS: ReadonlySet<string> = new Set(Object.keys(policyKeys));
/** A mapping that is taken or left as a whole: two faults are not one, nor are two ways to encrypt. */
const WHOLE: ReadonlySet<string> = new Set(["fault", "tls"]);
/** Keys that exclude each other: what the upstream says leaves no room for the other. */
const RIVALS: Readonly<Record<string, string>> = { failover: "respond", respond: "failover" };

interface Entry {
	readonly to: readonly string[];
	readonly settings: MapNode;
}

/** The same tree where no entry acts. */
export function mergePolicies(root: Node, env: Env, faults: TreeFault[]): Node {
	const policies = child(root, "policies");
	const upstreams = child(root, "upstreams");
	if (root.kind !== "map" || policies?.kind !== "list" || upstreams?.kind !== "map") return root;
	const entries = actingEntries(policies, String(plainOf(child(root, "service"), env)), env);
	if (entries.length === 0) return root;
	const filled = new Map<string, MapEntry>();
	const fillOf = fills(entries);
	let count = 0;
	for (const [name, entry] of upstreams.entries) {
		const { fill, entries: used } = fillOf(name);
		count += used;
		if (count > FILLS_MAX) {
			const message = "the policies act on too many upstreams";
			faults.push({ span: policies, path: ["policies"], message, hint: `at most ${FILLS_MAX} entries, each counted once for each upstream` });
			return root;
		}
		filled.set(name, fill === undefined || entry.value.kind !== "map" ? entry : { ...entry, value: fillIn(entry.value, fill) });
	}
	return withEntry(root, "upstreams", { ...upstreams, entries: filled });
}

/** Those whose `from` names the service, in file order. */
function actingEntries({ items }: ListNode, service: string, env: Env): Entry[] {
	return items.flatMap((item): Entry[] => {
		if (item.kind !== "map") return [];
		const from = item.entries.has("from") ? textsOf(child(item, "from"), env) : ["*"];
		if (!from.includes("*") && !from.includes(service)) return [];
		const settings = new Map([...item.entries].filter(([key]) => KEYS.has(key)));
		return settings.size === 0 ? [] : [{ to: textsOf(child(item, "to"), env), settings: { ...item, entries: settings } }];
	});
}

/** What the entries together say about an upstream: for most of them the same. */
function fills(entries: readonly Entry[]): (upstream: string) => { readonly fill: MapNode | undefined; readonly entries: number } {
	const named = new Map<string, number[]>();
	const everywhere: number[] = [];
	entries.forEach(({ to }, i) => {
		if (to.includes("*")) everywhere.push(i);
		else for (const name of new Set(to)) named.set(name, [...(named.get(name) ?? []), i]);
	});
	const combine = (order: readonly number[]) => {
		let fill: MapNode | undefined;
		// Later entries win over earlier ones.
		for (const i of order.toReversed()) {
			const { settings } = entries[i] as Entry;
			fill = fill === undefined ? settings : fillIn(fill, settings);
		}
		return { fill, entries: order.length };
	};
	const common = { ...combine(everywhere), entries: 1 };
	return (upstream) => {
		const own = named.get(upstream);
		return own === undefined ? common : combine([...everywhere, ...own].sort((a, b) => a - b));
	};
}

/** `node` with what only `from` says, mapping by mapping. */
function fillIn(node: MapNode, from: MapNode): MapNode {
	const entries = new Map(node.entries);
	for (const [key, entry] of from.entries) {
		const own = node.entries.get(key);
		if (own === undefined) {
			if (!node.entries.has(RIVALS[key] ?? key)) entries.set(key, entry);
		} else if (own.value.kind === "map" && entry.value.kind === "map" && !WHOLE.has(key)) {
			entries.set(key, { ...own, value: fillIn(own.value, entry.value) });
		}
	}
	return { ...node, entries };
}

function withEntry(node: MapNode, key: string, value: Node): MapNode {
	const entries = new Map(node.entries);
	const entry = entries.get(key);
	if (entry !== undefined) entries.set(key, { ...entry, value });
	return { ...node, entries };
}

function child(node: Node, key: string): Node | undefined {
	return node.kind === "map" ? node.entries.get(key)?.value : undefined;
}

function plainOf(node: Node | undefined, env: Env): unknown {
	return node && toPlain(node, env, []);
}

/** What is no text is told by the schema. */
function textsOf(node: Node | undefined, env: Env): readonly string[] {
	const plain = plainOf(node, env);
	return (Array.isArray(plain) ? plain : [plain]).filter((item) => typeof item === "string");
}
