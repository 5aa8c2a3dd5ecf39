/** A Map that does not change: freezing an ordinary one leaves its entries open. */

export class FrozenMap<K, V> extends Map<K, V> {
	constructor(entries: Iterable<readonly [K, V]>) {
		super();
		for (const [key, value] of entries) super.set(key, value);
		Object.freeze(this);
	}

	override set(): never {
		return refuse();
	}

	override delete(): never {
		return refuse();
	}

	override clear(): never {
		return refuse();
	}
}

function refuse(): never {
	throw new TypeError("a snapshot does not change");
}
