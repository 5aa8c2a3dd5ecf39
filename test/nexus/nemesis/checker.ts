/**
 * Whether a run kept what Nexus promises: nothing acknowledged is lost, nothing comes that nobody sent, each key stays in order, and every event is
 * either delivered or a dead letter. Pure.
 */
import type { Fate, History, Seen, Sent, Subscribed } from "./history.ts";

export type ViolationKind =
	/** Acknowledged, and not there. */
	| "lost"
	/** Nobody sent it. */
	| "unexpected"
	/** Not what was sent under its id. */
	| "altered"
	/** Ahead of an earlier one of its key, or while that one was not done, or ahead of an earlier sequence. */
	| "reordered"
	/** Twice where once is promised. */
	| "repeated"
	/** Neither delivered nor a dead letter, or both, or the wrong one of the two. */
	| "unaccounted"
	/** After it was said to be kept that it is done. */
	| "came-again"
	/** Said to be unreadable. */
	| "gap";

export interface Violation {
	readonly kind: ViolationKind;
	/** The log, the follower, or the name of a subscription. */
	readonly where: string;
	readonly count: number;
	/** The first of them. */
	readonly ids: readonly string[];
}

const SHOWN = 5;

/** Empty where all is well. */
export function violationsOf(history: History): Violation[] {
	const found = new Findings();
	for (const { where, first, last } of history.gaps) found.add("gap", where, `${first}-${last}`);
	checkLog(history, found);
	checkFollower(history, found);
	for (const subscribed of history.subscriptions) checkSubscription(history, subscribed, found);
	return found.list();
}

function checkLog({ isTakenOnce, sent, acknowledged, stored }: History, found: Findings): void {
	const where = "log";
	const ids = new Set<string>();
	let last = 0;
	for (const seen of stored) {
		checkContent(sent, seen, where, found);
		if (isTakenOnce && ids.has(seen.id)) found.add("repeated", where, seen.id);
		if (seen.sequence <= last) found.add("reordered", where, seen.id);
		ids.add(seen.id);
		last = seen.sequence;
	}
	for (const id of acknowledged) if (!ids.has(id)) found.add("lost", where, id);
	checkKeys(sent, ids, where, found);
}

/** A stream promises more than a subscription: each stored event once, by its sequence. */
function checkFollower({ sent, stored, followed }: History, found: Findings): void {
	const where = "follower";
	const bySequence = new Map(stored.map((seen) => [seen.sequence, seen.id]));
	const arrived = new Set<number>();
	let last = 0;
	for (const seen of followed) {
		checkContent(sent, seen, where, found);
		if (bySequence.get(seen.sequence) !== seen.id) found.add("unexpected", where, `${seen.id} as ${seen.sequence}`);
		if (arrived.has(seen.sequence)) found.add("repeated", where, seen.id);
		else if (seen.sequence < last) found.add("reordered", where, seen.id);
		arrived.add(seen.sequence);
		last = Math.max(last, seen.sequence);
	}
	for (const { sequence, id } of stored) if (!arrived.has(sequence)) found.add("lost", where, id);
}

function checkSubscription({ sent, acknowledged, stored }: History, { name, moments, parked, dead }: Subscribed, found: Findings): void {
	const repeated = repeatedIn(stored);
	const lanes = lanesOf(sent, stored);
	const delivered = new Set<string>();
	const accepted = new Set<string>();
	const settled = new Set<string>();
	// When it was parked is not known: it holds up nobody.
	const isDone = (id: string): boolean => accepted.has(id) || parked.has(id);
	let isClosed = false;
	for (const moment of moments) {
		switch (moment.what) {
			case "accepted":
				accepted.add(moment.id);
				break;
			case "settled":
				settled.add(moment.id);
				break;
			case "closed":
				isClosed = true;
				break;
			case "delivered": {
				const { id } = moment;
				checkContent(sent, moment, name, found);
				if ((settled.has(id) && !repeated.has(id)) || (isClosed && !parked.has(id))) found.add("came-again", name, id);
				const original = sent.get(id);
				if (original !== undefined && !delivered.has(id) && lanes.get(original.key)?.isAhead(original.n, isDone)) found.add("reordered", name, id);
				delivered.add(id);
				break;
			}
		}
	}
	const letters = new Set<string>();
	for (const letter of dead) {
		checkContent(sent, letter, name, found);
		if (letters.has(letter.id) && !repeated.has(letter.id)) found.add("repeated", name, letter.id);
		letters.add(letter.id);
	}
	// What nobody acknowledged may be there, or not; but where it is stored it is accounted for like the others.
	const all = new Set([...acknowledged, ...stored.map(({ id }) => id)]);
	for (const id of all) {
		const fate = sent.get(id)?.fate ?? "good";
		if (!delivered.has(id) && !letters.has(id)) found.add("lost", name, id);
		else if (!isAccounted(fate, accepted.has(id), letters.has(id))) found.add("unaccounted", name, id);
	}
	for (const id of [...delivered, ...letters]) if (!all.has(id)) found.add("unaccounted", name, id);
}

function isAccounted(fate: Fate, isAccepted: boolean, isDead: boolean): boolean {
	return fate === "poison" ? isDead && !isAccepted : isAccepted && !isDead;
}

function checkContent(sent: ReadonlyMap<string, Sent>, { id, digest }: Pick<Seen, "id" | "digest">, where: string, found: Findings): void {
	const original = sent.get(id);
	if (original === undefined) found.add("unexpected", where, id);
	else if (original.digest !== digest) found.add("altered", where, id);
}

/** Each of them is an event of its own to whoever gets it. */
function repeatedIn(stored: readonly Seen[]): ReadonlySet<string> {
	const once = new Set<string>();
	const repeated = new Set<string>();
	for (const { id } of stored) (once.has(id) ? repeated : once).add(id);
	return repeated;
}

/** The events of a key as they are stored, and how far all of them are done. */
class Lane {
	readonly events: Sent[] = [];
	#next = 0;

	isAhead(n: number, isDone: (id: string) => boolean): boolean {
		for (let open = this.events[this.#next]; open !== undefined && isDone(open.id); open = this.events[this.#next]) this.#next++;
		return n > (this.events[this.#next]?.n ?? n);
	}
}

function lanesOf(sent: ReadonlyMap<string, Sent>, stored: readonly Seen[]): ReadonlyMap<string, Lane> {
	const lanes = new Map<string, Lane>();
	for (const { id } of stored) {
		const original = sent.get(id);
		if (original === undefined) continue;
		const lane = lanes.get(original.key) ?? new Lane();
		lanes.set(original.key, lane);
		lane.events.push(original);
	}
	return lanes;
}

/** `ids`: in the order of their first arrival. */
function checkKeys(sent: ReadonlyMap<string, Sent>, ids: ReadonlySet<string>, where: string, found: Findings): void {
	const highest = new Map<string, number>();
	for (const id of ids) {
		const original = sent.get(id);
		if (original === undefined) continue;
		const { key, n } = original;
		const before = highest.get(key) ?? -1;
		if (n < before) found.add("reordered", where, id);
		else highest.set(key, n);
	}
}

class Findings {
	readonly #ids = new Map<string, { readonly kind: ViolationKind; readonly where: string; readonly ids: Set<string> }>();

	add(kind: ViolationKind, where: string, id: string): void {
		const name = `${where} ${kind}`;
		const found = this.#ids.get(name) ?? { kind, where, ids: new Set() };
		found.ids.add(id);
		this.#ids.set(name, found);
	}

	list(): Violation[] {
		return [...this.#ids.values()].map(({ kind, where, ids }) => ({ kind, where, count: ids.size, ids: [...ids].slice(0, SHOWN) }));
	}
}
