/** A binary min-heap of indices ordered by a table of due times; stand-alone functions over typed arrays, for the hot path. */

/** Restores the order after `dueAt` of the index at `position` has grown. O(log n). */
export function sink(heap: Uint32Array, dueAt: Float64Array, position: number): void {
	const size = heap.length;
	const moving = heap[position] as number;
	const due = dueAt[moving] as number;
	let hole = position;
	for (;;) {
		const child = earlierChild(heap, dueAt, hole, size);
		if (child === -1) break;
		const candidate = heap[child] as number;
		if ((dueAt[candidate] as number) >= due) break;
		heap[hole] = candidate;
		hole = child;
	}
	heap[hole] = moving;
}

/** Position of the one that is due second, -1 when there is only one. O(1): it is a child of the root. */
export function runnerUp(heap: Uint32Array, dueAt: Float64Array): number {
	return earlierChild(heap, dueAt, 0, heap.length);
}

/** Orders a heap of arbitrary content. O(n). */
export function heapify(heap: Uint32Array, dueAt: Float64Array): void {
	for (let position = (heap.length >> 1) - 1; position >= 0; position--) sink(heap, dueAt, position);
}

function earlierChild(heap: Uint32Array, dueAt: Float64Array, parent: number, size: number): number {
	const left = 2 * parent + 1;
	if (left >= size) return -1;
	const right = left + 1;
	if (right >= size) return left;
	return (dueAt[heap[right] as number] as number) < (dueAt[heap[left] as number] as number) ? right : left;
}
