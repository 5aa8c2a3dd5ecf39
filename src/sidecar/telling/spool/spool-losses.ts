/** Events that the spool itself lost since the start, by cause and priority. */

/** `overflow`: made way for others. `tooLarge`: larger than an event may be. `damaged`: the disk did not give back what it took. */
export type SpoolLoss = "overflow" | "tooLarge" | "damaged";

export class SpoolLosses {
	readonly overflow: Float64Array;
	readonly tooLarge: Float64Array;
	readonly damaged: Float64Array;

	constructor(priorities: number) {
		this.overflow = new Float64Array(priorities);
		this.tooLarge = new Float64Array(priorities);
		this.damaged = new Float64Array(priorities);
	}

	add(cause: SpoolLoss, priority: number, events: number): void {
		this[cause][priority] = (this[cause][priority] ?? 0) + events;
	}

	total(cause: SpoolLoss): number {
		return this[cause].reduce((sum, events) => sum + events, 0);
	}
}
