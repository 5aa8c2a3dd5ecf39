/** A bounded first-in first-out queue without allocation per item and without shifting. */

//  head            tail
//   v               v
// [ a | b | c | d |   |   ]   push writes at tail, shift reads at head; both wrap by mask

export class RingQueue<T> {
	readonly capacity: number;
	#items: (T | undefined)[];
	#mask: number;
	#head = 0;
	#size = 0;

	/** `capacity` is the most items it ever holds; memory grows by doubling up to it. */
	constructor(capacity: number) {
		this.capacity = capacity;
		this.#items = new Array<T | undefined>(8);
		this.#mask = 7;
	}

	get size(): number {
		return this.#size;
	}

	/** False when full: the caller decides what a refusal means. */
	push(item: T): boolean {
		if (this.#size >= this.capacity) return false;
		if (this.#size > this.#mask) this.#grow();
		this.#items[(this.#head + this.#size) & this.#mask] = item;
		this.#size++;
		return true;
	}

	peek(): T | undefined {
		return this.#size === 0 ? undefined : this.#items[this.#head];
	}

	shift(): T | undefined {
		if (this.#size === 0) return undefined;
		const item = this.#items[this.#head];
		this.#items[this.#head] = undefined;
		this.#head = (this.#head + 1) & this.#mask;
		this.#size--;
		return item;
	}

	#grow(): void {
		const old = this.#items;
		const grown = new Array<T | undefined>(old.length * 2);
		for (let i = 0; i < this.#size; i++) grown[i] = old[(this.#head + i) & this.#mask];
		this.#items = grown;
		this.#mask = grown.length - 1;
		this.#head = 0;
	}
}
