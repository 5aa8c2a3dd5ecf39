/** Sets of things by prefix: all that stand at prefixes of a text are found in one walk along it. */

//  insert "order." and "order.paid":    (root) --"order."--> {a} --"paid"--> {b}
//  then "ordinary":                     (root) --"ord"--> {} --"er."--> {a} --"paid"--> {b}
//                                                           \--"inary"--> {c}

interface Node<T> {
	label: string;
	readonly things: Set<T>;
	/** By the first UTF-16 unit of their labels. */
	readonly children: Map<number, Node<T>>;
}

export class PrefixTree<T> {
	readonly #root: Node<T> = nodeOf("");

	get isEmpty(): boolean {
		return this.#root.children.size === 0 && this.#root.things.size === 0;
	}

	add(prefix: string, thing: T): void {
		let node = this.#root;
		let at = 0;
		while (at < prefix.length) {
			const unit = prefix.charCodeAt(at);
			const child = node.children.get(unit);
			if (child === undefined) {
				const leaf = nodeOf<T>(prefix.slice(at));
				node.children.set(unit, leaf);
				node = leaf;
				break;
			}
			const shared = sharedLength(child.label, prefix, at);
			node = shared === child.label.length ? child : split(node, child, shared);
			at += shared;
		}
		node.things.add(thing);
	}

	delete(prefix: string, thing: T): void {
		this.#delete(this.#root, prefix, 0, thing);
	}

	/** How many stand at exactly this prefix. */
	sizeAt(prefix: string): number {
		let node = this.#root;
		let at = 0;
		while (at < prefix.length) {
			const child = node.children.get(prefix.charCodeAt(at));
			if (child === undefined || !prefix.startsWith(child.label, at)) return 0;
			at += child.label.length;
			node = child;
		}
		return node.things.size;
	}

	/** Puts every set whose prefix `text` begins with into `into`. */
	collect(text: string, into: Set<T>[]): void {
		let node = this.#root;
		let at = 0;
		for (;;) {
			if (node.things.size > 0) into.push(node.things);
			const child = at < text.length ? node.children.get(text.charCodeAt(at)) : undefined;
			if (child === undefined || !text.startsWith(child.label, at)) return;
			at += child.label.length;
			node = child;
		}
	}

	/** What is left empty goes, so the tree is never larger than what stands in it. Depth is that of a prefix. */
	#delete(node: Node<T>, prefix: string, at: number, thing: T): void {
		if (at === prefix.length) {
			node.things.delete(thing);
			return;
		}
		const unit = prefix.charCodeAt(at);
		const child = node.children.get(unit);
		if (child === undefined || !prefix.startsWith(child.label, at)) return;
		this.#delete(child, prefix, at + child.label.length, thing);
		if (child.things.size > 0 || child.children.size > 1) return;
		const [only] = child.children.values();
		if (only === undefined) {
			node.children.delete(unit);
			return;
		}
		only.label = child.label + only.label;
		node.children.set(unit, only);
	}
}

function nodeOf<T>(label: string): Node<T> {
	return { label, things: new Set(), children: new Map() };
}

/** A node for the first `length` units of the child's label, between it and its parent. */
function split<T>(parent: Node<T>, child: Node<T>, length: number): Node<T> {
	const middle = nodeOf<T>(child.label.slice(0, length));
	child.label = child.label.slice(length);
	middle.children.set(child.label.charCodeAt(0), child);
	parent.children.set(middle.label.charCodeAt(0), middle);
	return middle;
}

function sharedLength(label: string, text: string, at: number): number {
	const most = Math.min(label.length, text.length - at);
	let i = 0;
	while (i < most && label.charCodeAt(i) === text.charCodeAt(at + i)) i++;
	return i;
}
