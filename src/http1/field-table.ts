/** The header fields of one message as offsets into the bytes that they came in; strings are made only when asked. */
import { latin1 } from "../core/latin1.ts";
import { isAlias } from "./fields.ts";
import { FIELDS_MAX } from "./limits.ts";

// spans: [ name start | name end | value start | value end ] [ ... ]   ids: [ field id ] [ ... ]
const STRIDE = 4;

export class FieldTable {
	/** Where the offsets point. Valid only until the next read of the connection. */
	buffer: Buffer;
	count = 0;
	readonly ids = new Uint8Array(FIELDS_MAX);
	readonly #spans = new Int32Array(FIELDS_MAX * STRIDE);

	constructor(buffer: Buffer) {
		this.buffer = buffer;
	}

	/** Whether there was room. */
	add(id: number, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): boolean {
		const i = this.count;
		if (i === FIELDS_MAX) return false;
		const at = i * STRIDE;
		const spans = this.#spans;
		spans[at] = nameStart;
		spans[at + 1] = nameEnd;
		spans[at + 2] = valueStart;
		spans[at + 3] = valueEnd;
		this.ids[i] = id;
		this.count = i + 1;
		return true;
	}

	/** The bytes have moved by `-distance` into another buffer. */
	rebase(buffer: Buffer, distance: number): void {
		this.buffer = buffer;
		for (let i = 0; i < this.count * STRIDE; i++) (this.#spans[i] as number) -= distance;
	}

	nameStart(i: number): number {
		return this.#spans[i * STRIDE] as number;
	}

	valueStart(i: number): number {
		return this.#spans[i * STRIDE + 2] as number;
	}

	valueEnd(i: number): number {
		return this.#spans[i * STRIDE + 3] as number;
	}

	/** As sent: order and case are kept. */
	name(i: number): string {
		return latin1(this.buffer, this.nameStart(i), this.#spans[i * STRIDE + 1] as number);
	}

	/** Without optional white space around it. */
	value(i: number): string {
		return latin1(this.buffer, this.valueStart(i), this.valueEnd(i));
	}

	/** The value of the first field with this id, or undefined. */
	first(id: number): string | undefined {
		for (let i = 0; i < this.count; i++) if (this.ids[i] === id) return this.value(i);
		return undefined;
	}

	/** The value of the `index`-th field of that name, from 0; undefined behind the last. `name` in lower case. */
	line(name: string, index: number): string | undefined {
		let left = index;
		for (let i = 0; i < this.count; i++) if (this.#isNamed(i, name) && left-- === 0) return this.value(i);
		return undefined;
	}

	/** The same of fields whose names differ from it by `_` for `-` only. */
	aliasLine(name: string, index: number): string | undefined {
		let left = index;
		for (let i = 0; i < this.count; i++) if (this.#isAlias(i, name) && left-- === 0) return this.value(i);
		return undefined;
	}

	/** All values of a field, joined as RFC 9110 section 5.3 allows; undefined when it is absent. `name` in lower case. */
	get(name: string): string | undefined {
		let joined: string | undefined;
		for (let i = 0; i < this.count; i++) {
			if (!this.#isNamed(i, name)) continue;
			joined = joined === undefined ? this.value(i) : `${joined}, ${this.value(i)}`;
		}
		return joined;
	}

	#isAlias(i: number, name: string): boolean {
		if ((this.#spans[i * STRIDE + 1] as number) - this.nameStart(i) !== name.length) return false;
		return isAlias(this.name(i).toLowerCase(), name);
	}

	#isNamed(i: number, name: string): boolean {
		return (this.#spans[i * STRIDE + 1] as number) - this.nameStart(i) === name.length && this.name(i).toLowerCase() === name;
	}
}
