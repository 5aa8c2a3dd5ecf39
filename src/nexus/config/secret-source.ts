/** A secret of the configuration: where it stands, or itself; read when it is needed, and shown by nothing. */
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { messageOf } from "../../core/errors.ts";

/** No URL or token is longer; a file that is was meant for something else. */
const CHARS_MAX = 8192;

export class SecretSource {
	readonly #text: string | undefined;
	readonly #make: (() => string) | undefined;
	/** Undefined where the configuration holds it, or the environment. */
	readonly file: string | undefined;

	private constructor(text: string | undefined, file: string | undefined, make?: () => string) {
		this.#text = text;
		this.file = file;
		this.#make = make;
	}

	static text(text: string): SecretSource {
		return new SecretSource(text, undefined);
	}

	static file(path: string): SecretSource {
		return new SecretSource(undefined, path);
	}

	/** Put together from others whenever it is read. */
	static made(make: () => string): SecretSource {
		return new SecretSource(undefined, undefined, make);
	}

	/** Without white space around it. Throws a readable error that does not quote it. */
	read(): string {
		if (this.#make !== undefined) return this.#make();
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

/** As it is now. */
export function secretOf(secret: string | SecretSource): string {
	return typeof secret === "string" ? secret : secret.read();
}

/** Also of a key that is misspelled, which is told with its line. The name of a file is no secret. */
const KEY = String.raw`\b(?!\w*File\b)\w*(?:pass|pwd|token|secret)\w*["']?:[ \t]*`;
/** Up to its end of the line, where it is in no quotes: a comma may be a part of it. */
const SECRET_VALUE = new RegExp(String.raw`(?<=${KEY})(?:"(?:[^"\\\n]|\\.)*"?|'[^\n']*'?|[^\s"'}][^\n}]*)`, "gi");
/** On lines of its own, deeper than its key. */
const SECRET_BELOW = new RegExp(String.raw`(?=\n)(?<=^([ \t]*)(?:- )?["']?${KEY}[^\n]*)(?:\n\1[ \t]+[^\n]*)+`, "gim");
/** Of URLs: the login before the @, or what stands where a port would. */
const URL_LOGIN = /(?<=:\/\/)[^\s"']*(?=@)|(?<=:\/\/[^\s"'/:@]+:)(?!\d+(?![^\s"'/,}\]]))[^\s"'/@]+/g;

/** `text` with its logins and what stands behind the keys of tokens and passwords made unreadable; as long as before, line by line. */
export function withoutSecrets(text: string): string {
	return text
		.replaceAll(URL_LOGIN, stars)
		.replaceAll(SECRET_BELOW, stars)
		.replaceAll(SECRET_VALUE, (found) => (/^["']?\$/.test(found) ? found : stars(found)));
}

function stars(found: string): string {
	return found.replaceAll(/\S/g, "*");
}
