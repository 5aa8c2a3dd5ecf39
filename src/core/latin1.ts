/** Bytes to strings, one character per byte: the text of HTTP/1.1 heads, and small bodies glued to them. */

interface Latin1Sliceable {
	latin1Slice(start: number, end: number): string;
}

/**
 * `buffer.toString("latin1", start, end)` without its look-up of the encoding by name. `latin1Slice` is not documented, but it is what
 * `toString` calls, and has been there since Node 0.x; the hot path makes about ten strings a request.
 */
export function latin1(buffer: Buffer, start: number, end: number): string {
	return (buffer as unknown as Latin1Sliceable).latin1Slice(start, end);
}
