/** Policy file -> snapshot; a file that cannot be read is a fault like any other. */
import { open } from "node:fs/promises";
import { codeOf, messageOf } from "../core/errors.ts";
import type { Env } from "./env.ts";
import { type Layers, type LoadResult, loadLayeredPolicy, loadPolicy, TEXT_CHARS_MAX } from "./load.ts";

// UTF-8 takes at most 3 bytes for what JavaScript counts as one character; read no more of an endless file.
const BYTES_MAX = TEXT_CHARS_MAX * 3;

/** `text` is what was read, for `formatFaults`; empty where nothing was. `layer`: what Nexus has besides. Rejects never. */
export async function loadPolicyFile(
	file: string,
	env: Env,
	version: number,
	layer?: Omit<Layers, "local">,
): Promise<{ readonly text: string; readonly result: LoadResult }> {
	const read = await readTextFile(file);
	if ("text" in read) {
		const { text } = read;
		const result = layer === undefined ? loadPolicy(text, file, env, version) : loadLayeredPolicy({ local: { text, file }, ...layer }, env, version);
		return { text, result };
	}
	const place = { file, line: 1, column: 1 };
	return { text: "", result: { ok: false, faults: [{ place, width: 1, path: "", message: read.message, hint: read.hint }] } };
}

/** The whole text of a UTF-8 file, cut off (and so refused by whoever parses it) just above what a policy may have. Rejects never. */
export async function readTextFile(file: string): Promise<{ readonly text: string } | { readonly message: string; readonly hint: string }> {
	try {
		await using handle = await open(file, "r");
		const bytes = Buffer.allocUnsafe(64 * 1024);
		const chunks: Buffer[] = [];
		let total = 0;
		while (total <= BYTES_MAX) {
			const { bytesRead } = await handle.read(bytes, 0, bytes.length, null);
			if (bytesRead === 0) break;
			total += bytesRead;
			chunks.push(Buffer.from(bytes.subarray(0, bytesRead)));
		}
		return { text: new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks)) };
	} catch (thrown) {
		switch (codeOf(thrown)) {
			case "ENOENT":
				return { message: "there is no such file", hint: "is the path right, and relative to the working directory?" };
			case "EISDIR":
				return { message: "this is a directory", hint: "name a policy file in it" };
			case "ERR_ENCODING_INVALID_ENCODED_DATA":
				return { message: "the file is not UTF-8 text", hint: "save it as UTF-8" };
			default:
				return { message: `the file cannot be read: ${messageOf(thrown)}`, hint: "" };
		}
	}
}
