/**
 * Two texts as one policy: what stands in the sidecar's own file, and what Nexus has for the service. Key by key, one of them winning where
 * both speak; every node keeps the place in its own text.
 */
import { LineIndex, type Lines } from "./fault.ts";
import type { ListNode, MapEntry, MapNode, Node, Span, TreeFault } from "./tree.ts";

export interface PolicyText {
	readonly text: string;
	readonly file: string;
}

/** `local`: the sidecar's own file; `nexus`: what Nexus has for it. */
export type LayerWins = "local" | "nexus";

/** Who a sidecar is and where it finds Nexus: what Nexus says must not cut its own way to the sidecar. */
const OWN_KEYS: ReadonlySet<string> = new Set(["trustDomain", "admin", "identity", "nexus", "policy", "zone"]);
/** Mappings that are taken or left as a whole: two faults are not one, nor are two ways to encrypt. */
const WHOLE: ReadonlySet<string> = new Set(["fault", "tls"]);
/** Keys of which one place has one: whoever wins leaves no room for the others. */
const RIVALS: readonly ReadonlySet<string>[] = [new Set(["endpoints", "dns", "file", "registry"]), new Set(["failover", "respond"])];

/** `nexus:checkout@7` */
export function nexusFile(service: string, version: number): string {
	return `nexus:${service}@${version}`;
}

/** Offsets of the second are those in its own text, moved by `shiftOf`. */
export function joinedText(local: PolicyText, nexus: PolicyText): string {
	return `${local.text}\n${nexus.text}`;
}

export function joinedLines(local: PolicyText, nexus: PolicyText): Lines {
	const first = new LineIndex(local.text, local.file);
	const second = new LineIndex(nexus.text, nexus.file);
	const start = local.text.length + 1;
	return { place: (offset) => (offset < start ? first.place(offset) : second.place(offset - start)) };
}

/** The tree of the second text, as offsets in both. */
export function shiftOf(root: Node, { text }: PolicyText): Node {
	const by = text.length + 1;
	// What aliases share stays shared, else a small text would grow beyond all bounds.
	const done = new Map<Node, Node>();
	return shift(root);

	function shift(node: Node): Node {
		const known = done.get(node);
		if (known !== undefined) return known;
		const made = shifted(node);
		done.set(node, made);
		return made;
	}

	function shifted(node: Node): Node {
		const span = movedSpan(node, by);
		if (node.kind === "scalar") return { ...node, ...span };
		if (node.kind === "list") return { ...node, ...span, items: node.items.map(shift) } satisfies ListNode;
		const entries = new Map<string, MapEntry>();
		for (const [key, { keySpan, value }] of node.entries) entries.set(key, { keySpan: movedSpan(keySpan, by), value: shift(value) });
		return { ...node, ...span, entries } satisfies MapNode;
	}
}

/** Lists are taken whole: of two lists of routes or rules, the order of both together would be nobody's. */
export function layered(local: Node, nexus: Node, wins: LayerWins, faults: TreeFault[]): Node {
	if (local.kind !== "map") return local;
	if (nexus.kind !== "map") {
		faults.push({ span: nexus, path: [], message: "the policy of Nexus is no mapping", hint: "write keys and values, as in a policy file" });
		return local;
	}
	const entries = new Map(nexus.entries);
	for (const [key, { keySpan }] of nexus.entries) {
		if (!OWN_KEYS.has(key)) continue;
		entries.delete(key);
		faults.push({
			span: keySpan,
			path: [key],
			message: `\`${key}\` is of the sidecar's own file`,
			hint: "remove it here: it says who this sidecar is, or how it finds Nexus",
		});
	}
	checkService(local, nexus, faults);
	entries.delete("service");
	const given: MapNode = { ...nexus, entries };
	return wins === "local" ? over(local, given) : { ...over(given, local), start: local.start, end: local.end };
}

function checkService(local: MapNode, nexus: MapNode, faults: TreeFault[]): void {
	const named = nexus.entries.get("service")?.value;
	const own = local.entries.get("service")?.value;
	if (named === undefined || (named.kind === "scalar" && own?.kind === "scalar" && named.value === own.value)) return;
	const hint = own?.kind === "scalar" ? `write \`service: ${String(own.value)}\`, or leave it out` : "leave it out";
	faults.push({ span: named, path: ["service"], message: "this is the policy of another service", hint });
}

/** `upper`, with what only `lower` says. */
function over(upper: MapNode, lower: MapNode): MapNode {
	const entries = new Map(upper.entries);
	for (const [key, entry] of lower.entries) {
		const own = upper.entries.get(key);
		if (own === undefined) {
			const rivals = RIVALS.find((keys) => keys.has(key));
			if (rivals === undefined || ![...rivals].some((rival) => upper.entries.has(rival))) entries.set(key, entry);
		} else if (own.value.kind === "map" && entry.value.kind === "map" && !WHOLE.has(key)) {
			entries.set(key, { ...own, value: over(own.value, entry.value) });
		}
	}
	return { ...upper, entries };
}

function movedSpan({ start, end }: Span, by: number): Span {
	return { start: start + by, end: end + by };
}
