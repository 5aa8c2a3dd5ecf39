/** Texts that are longer than a value of the state may be: in parts, in a table beside that of the rows which tell of them. */
import { createHash } from "node:crypto";
import { put, type Read, remove, type StateFailed, type StateStore, type Write } from "./state-store.ts";

/** What a row may hold itself: as JSON in JSON it takes twice as much at most, and there is more in the row. */
export const INLINE_BYTES_MAX = 112 * 1024;
/** In base64 a third more, which a value of 256 KiB takes. */
const PART_BYTES = 180 * 1024;

/** As a row keeps it. The name is of its content, so that parts of another text under the same key are never taken for these. */
export interface LongText {
	readonly name: string;
	readonly parts: number;
}

export class LongTexts {
	readonly #state: StateStore;
	readonly #table: string;

	constructor(state: StateStore, table: string) {
		this.#state = state;
		this.#table = table;
	}

	/** Before its row: what a crash leaves in between is found by `sweep`. Parts that are there already are written again. */
	async keep(key: string, bytes: Buffer): Promise<LongText | StateFailed> {
		const name = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
		const text = { name, parts: Math.ceil(bytes.length / PART_BYTES) };
		for (let part = 0; part < text.parts; part++) {
			const value = bytes.subarray(part * PART_BYTES, (part + 1) * PART_BYTES).toString("base64");
			const outcome = await this.#state.commit([put(this.#table, keyOf(key, name, part), value)]);
			if (!outcome.ok) return outcome.failure === "conflict" ? { ok: false, failure: "io", detail: "the state is at odds with itself" } : outcome;
		}
		return text;
	}

	/** Undefined: it is gone, and so is its row by now. */
	async read(key: string, { name, parts }: LongText): Promise<Read<string | undefined>> {
		const bytes: Buffer[] = [];
		for (let part = 0; part < parts; part++) {
			const read = await this.#state.get(this.#table, keyOf(key, name, part));
			if (!read.ok) return read;
			if (typeof read.value?.value !== "string") return { ok: true, value: undefined };
			bytes.push(Buffer.from(read.value.value, "base64"));
		}
		return { ok: true, value: Buffer.concat(bytes).toString() };
	}

	/** To be committed with what becomes of its row. */
	removals(key: string, { name, parts }: LongText): Write[] {
		return Array.from({ length: parts }, (_, part) => remove(this.#table, keyOf(key, name, part)));
	}

	/** Removes what has no row: `isUsed` is asked with the key of a row and the name of a text. */
	async sweep(isUsed: (key: string, name: string) => boolean): Promise<void> {
		for (let after: string | undefined; ; ) {
			const page = await this.#state.list(this.#table, after === undefined ? {} : { after });
			if (!page.ok) return;
			for (const { key } of page.value.entries) {
				const [row = "", name = ""] = key.split(":");
				if (!isUsed(row, name)) await this.#state.commit([remove(this.#table, key)]);
			}
			after = page.value.next;
			if (after === undefined) return;
		}
	}
}

/** Keys of rows have no colon. */
function keyOf(key: string, name: string, part: number): string {
	return `${key}:${name}:${part}`;
}
