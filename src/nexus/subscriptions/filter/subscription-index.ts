/** Who wants an event: subscriptions by what an event must have to pass them, so that the cost grows with matches and not with subscriptions. */
import type { CloudEvent } from "../../../events/cloud-event.ts";
import { type AttributeReader, attributeReader, textOf } from "./attributes.ts";
import type { Filter } from "./filter.ts";
import type { Key, Need } from "./need.ts";
import { PrefixTree } from "./prefix-tree.ts";

// An event has about ten attributes: above this, asking the event for its attributes is less work than asking the index for its own.
const ATTRIBUTES_ASKED_MAX = 16;

interface Entry<T> {
	readonly filter: Filter;
	readonly value: T;
	/** Where it stands; empty in the list of those that see every event. */
	readonly keys: readonly Key[];
	/** The last match that looked at it: it may stand under several keys of one event. */
	seen: number;
}

interface AttributeIndex<T> {
	readonly read: AttributeReader;
	readonly exact: Map<string, Set<Entry<T>>>;
	readonly prefixes: PrefixTree<Entry<T>>;
}

export class SubscriptionIndex<T> {
	readonly #entries = new Map<string, Entry<T>>();
	readonly #attributes = new Map<string, AttributeIndex<T>>();
	/** Filters that nothing necessary could be found in. */
	readonly #residual = new Set<Entry<T>>();
	// Kept between matches, to allocate nothing.
	readonly #hits: Set<Entry<T>>[] = [];
	#match = 0;

	get size(): number {
		return this.#entries.size;
	}

	/** Subscriptions that are asked for every event. */
	get residualSize(): number {
		return this.#residual.size;
	}

	/** Adds a subscription, or replaces the one of that name. */
	set(name: string, filter: Filter, value: T): void {
		this.delete(name);
		const keys = filter.need === undefined ? [] : this.#fewest(filter.need);
		const entry: Entry<T> = { filter, value, keys, seen: 0 };
		this.#entries.set(name, entry);
		if (keys.length === 0) this.#residual.add(entry);
		for (const key of keys) this.#add(key, entry);
	}

	/** False where there was none of that name. */
	delete(name: string): boolean {
		const entry = this.#entries.get(name);
		if (entry === undefined) return false;
		this.#entries.delete(name);
		this.#residual.delete(entry);
		for (const key of entry.keys) this.#remove(key, entry);
		return true;
	}

	/** The values of all subscriptions whose filters the event passes, each once, in no order. */
	match(event: CloudEvent): T[] {
		const hits = this.#hits;
		hits.length = 0;
		if (this.#attributes.size <= ATTRIBUTES_ASKED_MAX) {
			for (const attribute of this.#attributes.values()) collect(attribute, event, hits);
		} else {
			for (const name in event) {
				const attribute = this.#attributes.get(name);
				if (attribute !== undefined) collect(attribute, event, hits);
			}
		}
		if (this.#residual.size > 0) hits.push(this.#residual);
		const match = ++this.#match;
		const values: T[] = [];
		for (const entries of hits) {
			for (const entry of entries) {
				if (entry.seen === match) continue;
				entry.seen = match;
				if (entry.filter.matches(event)) values.push(entry.value);
			}
		}
		return values;
	}

	/** The keys to stand under: of what is all necessary, that which fewest others stand under now. */
	#fewest(need: Need): readonly Key[] {
		switch (need.kind) {
			case "any":
				return need.of.flatMap((one) => this.#fewest(one));
			case "all": {
				let best: readonly Key[] = [];
				let least = Number.POSITIVE_INFINITY;
				for (const one of need.of) {
					const keys = this.#fewest(one);
					const crowd = keys.reduce((sum, key) => sum + this.#crowd(key), 0);
					if (crowd >= least) continue;
					best = keys;
					least = crowd;
				}
				return best;
			}
			default:
				return [need];
		}
	}

	/** Those under a key, and one more for the look-up; a prefix is met by more events than a whole value. */
	#crowd({ kind, attribute, value }: Key): number {
		const index = this.#attributes.get(attribute);
		return kind === "exact" ? 1 + (index?.exact.get(value)?.size ?? 0) : 2 + (index?.prefixes.sizeAt(value) ?? 0);
	}

	#add({ kind, attribute, value }: Key, entry: Entry<T>): void {
		let index = this.#attributes.get(attribute);
		if (index === undefined) {
			index = { read: attributeReader(attribute), exact: new Map(), prefixes: new PrefixTree() };
			this.#attributes.set(attribute, index);
		}
		if (kind === "prefix") {
			index.prefixes.add(value, entry);
			return;
		}
		const entries = index.exact.get(value);
		if (entries === undefined) index.exact.set(value, new Set([entry]));
		else entries.add(entry);
	}

	#remove({ kind, attribute, value }: Key, entry: Entry<T>): void {
		const index = this.#attributes.get(attribute);
		if (index === undefined) return;
		if (kind === "prefix") index.prefixes.delete(value, entry);
		else {
			const entries = index.exact.get(value);
			entries?.delete(entry);
			if (entries?.size === 0) index.exact.delete(value);
		}
		if (index.exact.size === 0 && index.prefixes.isEmpty) this.#attributes.delete(attribute);
	}
}

function collect<T>(attribute: AttributeIndex<T>, event: CloudEvent, hits: Set<Entry<T>>[]): void {
	const value = attribute.read(event);
	if (value === undefined) return;
	const text = textOf(value);
	const entries = attribute.exact.get(text);
	if (entries !== undefined) hits.push(entries);
	attribute.prefixes.collect(text, hits);
}
