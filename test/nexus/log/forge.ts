/** Rewrites the hash of an event in the bytes of a segment, with right checksums: what a collision would look like. */
import { decodeBlockHead, decodeSegmentHeader, encodeBlockHead, peekBlock, SEGMENT_HEADER_BYTES } from "../../../src/nexus/log/block-codec.ts";

/** Block `target` gets the hash of block `from`, or one of nobody. Each block holds one event. */
export function forgeHash(file: Buffer, target: number, from: number | "other"): Buffer {
	const header = decodeSegmentHeader(file);
	if (header === undefined) throw new Error("no segment");
	const blocks: { at: number; headBytes: number; bodyBytes: number }[] = [];
	for (let at = SEGMENT_HEADER_BYTES; at < file.length; ) {
		const peeked = peekBlock(file, at);
		if (peeked === undefined) throw new Error("no block");
		blocks.push({ at, ...peeked });
		at += peeked.headBytes + peeked.bodyBytes;
	}
	const headOf = (index: number) => {
		const block = blocks[index];
		const head = block && decodeBlockHead(header.id, Buffer.from(file.subarray(block.at, block.at + block.headBytes)));
		if (block === undefined || head === undefined) throw new Error("no such block");
		return { block, head };
	};
	const { block, head } = headOf(target);
	head.rows.set(from === "other" ? [1, 2] : headOf(from).head.rows.subarray(0, 2), 0);
	const forged = Buffer.from(file);
	const bodyAt = block.at + block.headBytes;
	encodeBlockHead(header.id, head, file.subarray(bodyAt, bodyAt + block.bodyBytes)).copy(forged, block.at);
	return forged;
}
