/** Text of an event stream -> events (WHATWG HTML, section 9.2.6). Knows no network. */

export interface SseMessage {
	/** The last id seen, as the standard has it; empty where there was none. */
	readonly id: string;
	readonly event: string;
	readonly data: string;
}

/** An event of Nexus has 1 MiB at most, and what stands around it; whatever sends more without an end is no such stream. */
const PENDING_CHARS_MAX = 2 * 1024 * 1024;

export class SseReader {
	#rest = "";
	/** Of the last event that was whole, and of the one that is coming in. */
	#lastId: string;
	#id: string;
	#event = "";
	#data: string[] = [];
	#dataChars = 0;

	/** `lastId`: where the stream before this one ended. */
	constructor(lastId: string) {
		this.#lastId = lastId;
		this.#id = lastId;
	}

	/** What to resume behind; empty while the stream has named none. An event that was cut off counts for nothing, its id neither. */
	get lastId(): string {
		return this.#lastId;
	}

	/** The events that are complete with this text. Throws where one never ends. */
	push(text: string): SseMessage[] {
		const messages: SseMessage[] = [];
		const lines = (this.#rest + text).split("\n");
		this.#rest = lines.pop() ?? "";
		if (this.#rest.length > PENDING_CHARS_MAX) throw new Error("the stream sends a line that does not end");
		for (const raw of lines) {
			const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
			if (line === "") {
				if (this.#data.length > 0) messages.push({ id: this.#id, event: this.#event === "" ? "message" : this.#event, data: this.#data.join("\n") });
				this.#lastId = this.#id;
				this.#event = "";
				this.#data = [];
				this.#dataChars = 0;
			} else this.#field(line);
		}
		return messages;
	}

	#field(line: string): void {
		const colon = line.indexOf(":");
		const name = colon < 0 ? line : line.slice(0, colon);
		const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
		if (name === "data") {
			this.#data.push(value);
			this.#dataChars += value.length + 1;
			if (this.#dataChars > PENDING_CHARS_MAX) throw new Error("the stream sends an event that does not end");
		} else if (name === "event") this.#event = value;
		else if (name === "id") this.#id = value;
	}
}
