/** A secret of the configuration: where it stands, or itself; read when it is needed, and shown by nothing. */
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { messageOf } from "../core/errors.ts";

/** No URL or token is longer; a file that is was meant for something else. */
const CHARS_MAX = 8192;

export class SecretSource {
	readonly #text: string | undefined;
	/** Undefined where the configuration holds it, or the environment. */
	readonly file: string | undefined;

	private constructor(text: string | undefined, file: string | undefined) {
		this.#text = text;
		this.file = file;
	}

	static text(text: string): SecretSource {
		return new SecretSource(text, undefined);
	}

	static file(path: string): SecretSource {
		return new SecretSource(undefined, path);
	}

	/** Without white space around it. Throws a readable error that does not quote it. */
	read(): string {
		if (this.file === undefined) return this.#text ?? "";
		let text: string;
		try {
			text = readFileSync(this.file, "utf8").trim();
		} catch (thrown) {
			throw new Error(`a secret cannot be read: ${messageOf(thrown)}`, { cause: thrown });
		}
		if (text === "" || text.length > CHARS_MAX) throw new Error(`${this.file} holds no secret: it is ${text === "" ? "empty" : "too long"}`);
		return text;
	}

	toJSON(): string {
		return this.file === undefined ? "(hidden)" : `(in ${this.file})`;
	}

	[inspect.custom](): string {
		return this.toJSON();
	}
}

/** `text` with what stands before the @ of its URLs, and behind the keys of tokens, made unreadable; as long as before. */
export function withoutSecrets(text: string): string {
	return text
		.replaceAll(/(?<=:\/\/)[^\s/@"']*(?=@)/g, (found) => "*".repeat(found.length))
		.replaceAll(/(?<=\btoken:[ \t]*)[^\s,}#]+/g, (found) => (found.startsWith("$") ? found : "*".repeat(found.length)));
}
