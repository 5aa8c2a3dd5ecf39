/**
 * Secret text as bytes in memory of their own. Node cuts small Buffers from one block that they share, and whoever inspects any of them with
 * `showHidden` is shown that block: a certificate would show the key that was read before it.
 */

/** Never from the pool, which `Buffer.from` takes from. */
export function secretBytes(text: string, encoding: "utf8" | "base64url" = "utf8"): Buffer {
	const bytes = Buffer.alloc(Buffer.byteLength(text, encoding));
	return bytes.subarray(0, bytes.write(text, encoding));
}
