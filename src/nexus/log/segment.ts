/** One segment on disk: the file of blocks, and beside it the file of finished extents. Raw descriptors; knows no events. */
import {
	closeSync,
	fstatSync,
	fsyncSync,
	ftruncateSync,
	mkdirSync,
	openSync,
	read,
	readSync,
	renameSync,
	rmSync,
	statfsSync,
	unlinkSync,
	writeSync,
	writevSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { decodeSegmentHeader, encodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader } from "./block-codec.ts";
import { decodeExtentHeader, EXTENT_HEADER_BYTES, Extent, type ExtentSummary } from "./extent.ts";
import { ROOM_BYTES, ROOM_FREE_BYTES_MIN } from "./limits.ts";

const ROOM = Buffer.alloc(ROOM_BYTES);

/** A finished extent. */
export interface ExtentRef {
	readonly summary: ExtentSummary;
	/** Where it stands in the index file; undefined where it could not be written, so that it stays in memory. */
	readonly at: { readonly offset: number; readonly bytes: number } | undefined;
	readonly pinned: Extent | undefined;
}

export class Segment {
	readonly header: SegmentHeader;
	/** Where its file is; changes once, when a compacted segment takes the place of the one it was made from. */
	path: string;
	readonly fd: number;
	/** Everything before is durable and whole. */
	end = SEGMENT_HEADER_BYTES;
	/** In order, without gaps, from the segment's start. */
	readonly extents: ExtentRef[] = [];
	/** Grows while this is the last segment. */
	open: Extent;
	/** Before it the file has its room on the disk, or there was none to be had. */
	#roomEnd = 0;
	#indexPath: string;
	readonly #indexFd: number;
	#indexEnd = 0;
	#indexBroken = false;
	#holders = 1;

	private constructor(path: string, fd: number, header: SegmentHeader) {
		this.path = path;
		this.fd = fd;
		this.header = header;
		this.open = new Extent(SEGMENT_HEADER_BYTES, header.firstSequence);
		this.#indexPath = indexPathOf(path);
		this.#indexFd = openSync(this.#indexPath, "a+");
	}

	/** A new file with its header, not yet durable. Throws what the system says. */
	static create(dir: string, header: SegmentHeader): Segment {
		const path = join(dir, segmentName(header.firstSequence));
		const fd = openSync(path, "wx+");
		try {
			writeSync(fd, encodeSegmentHeader(header), 0, SEGMENT_HEADER_BYTES, 0);
			const segment = new Segment(path, fd, header);
			segment.loadIndex(0);
			return segment;
		} catch (thrown) {
			closeSync(fd);
			unlinkSync(path);
			throw thrown;
		}
	}

	/** Undefined where the header is missing or damaged. */
	static openExisting(path: string): Segment | undefined {
		const fd = openSync(path, "r+");
		const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
		readSync(fd, bytes, 0, bytes.length, 0);
		const header = decodeSegmentHeader(bytes);
		if (header === undefined) {
			closeSync(fd);
			return undefined;
		}
		return new Segment(path, fd, header);
	}

	/** Last sequence that is in it; one less than its first while it is empty. */
	get lastSequence(): number {
		return this.open.lastSequence;
	}

	get maxTimeMs(): number {
		return this.extents.reduce((max, { summary }) => Math.max(max, summary.maxTimeMs), this.open.maxTimeMs);
	}

	get fileBytes(): number {
		return fstatSync(this.fd).size;
	}

	/** Writes all of `parts` at `offset`, however many calls the system needs. */
	writeAt(parts: readonly Buffer[], offset: number): void {
		let rest = parts.filter((part) => part.length > 0);
		while (rest.length > 0) {
			let written = writevSync(this.fd, rest, offset);
			offset += written;
			while (rest.length > 0 && written >= (rest[0] as Buffer).length) written -= (rest.shift() as Buffer).length;
			if (written > 0) rest = [(rest[0] as Buffer).subarray(written), ...rest.slice(1)];
		}
	}

	/**
	 * Makes room behind `end`, where a write has just ended, as zeros that the same sync makes durable. What is written into it changes no size and
	 * needs no new blocks, so that its sync asks nothing of the file system's journal (docs/decisions/0106). Does its best: a disk that is nearly full
	 * has no room to give.
	 */
	makeRoom(end: number): void {
		if (end <= this.#roomEnd) return;
		// Where there is none now, there may be some so much further on.
		this.#roomEnd = end + ROOM.length;
		try {
			const { bavail, bsize } = statfsSync(this.path);
			if (bavail * bsize >= ROOM_FREE_BYTES_MIN) this.#roomEnd = end + writeSync(this.fd, ROOM, 0, ROOM.length, end);
		} catch {
			ftruncateSync(this.fd, end);
		}
	}

	/** Blocks until the disk has all that was written. */
	sync(): void {
		fsyncSync(this.fd);
	}

	/** Undefined where the file is shorter than that. */
	readAt(offset: number, length: number): Promise<Buffer | undefined> {
		return readExactly(this.fd, offset, length);
	}

	readAtSync(offset: number, length: number): Buffer {
		const bytes = Buffer.allocUnsafeSlow(length);
		let got = 0;
		while (got < length) {
			const n = readSync(this.fd, bytes, got, length - got, offset + got);
			if (n === 0) break;
			got += n;
		}
		return bytes.subarray(0, got);
	}

	/**
	 * Ends the growing extent, keeps it beside the segment and begins the next. The index can be made again from the blocks, so a failure to
	 * write it only costs memory now and time at the next start; it is returned for the log.
	 */
	finishExtent(): unknown {
		const extent = this.open;
		if (extent.blocks === 0) return undefined;
		this.open = new Extent(extent.logEnd, extent.lastSequence + 1);
		const bytes = this.#indexBroken ? undefined : extent.encode(this.header.id);
		let failure: unknown;
		if (bytes !== undefined) {
			try {
				// A disk with some room left takes a part, and only then says that it is full.
				for (let written = 0; written < bytes.length; ) written += writeSync(this.#indexFd, bytes, written);
				this.extents.push({ summary: extent.summary, at: { offset: this.#indexEnd, bytes: bytes.length }, pinned: undefined });
				this.#indexEnd += bytes.length;
				return undefined;
			} catch (thrown) {
				this.#indexBroken = true;
				failure = thrown;
			}
		}
		this.extents.push({ summary: extent.summary, at: undefined, pinned: extent });
		return failure;
	}

	/** Reads the extents' headers back, as far as they are whole, contiguous and within `logBytes`; `end` and `open` then stand behind them. */
	loadIndex(logBytes: number): void {
		const header = Buffer.alloc(EXTENT_HEADER_BYTES);
		while (readSync(this.#indexFd, header, 0, header.length, this.#indexEnd) === header.length) {
			const decoded = decodeExtentHeader(this.header.id, header);
			if (decoded === undefined || decoded.summary.logStart !== this.end || decoded.summary.logEnd > logBytes) break;
			const bytes = EXTENT_HEADER_BYTES + decoded.payloadBytes;
			if (fstatSync(this.#indexFd).size < this.#indexEnd + bytes) break;
			this.extents.push({ summary: decoded.summary, at: { offset: this.#indexEnd, bytes }, pinned: undefined });
			this.#indexEnd += bytes;
			this.end = decoded.summary.logEnd;
			this.open = new Extent(this.end, decoded.summary.lastSequence + 1);
		}
		// What follows is torn or belongs to bytes that are gone; appending behind it would hide what comes next.
		ftruncateSync(this.#indexFd, this.#indexEnd);
	}

	/** Cuts the file to what is known to be whole. */
	cutBack(): void {
		this.#roomEnd = 0;
		ftruncateSync(this.fd, this.end);
	}

	/** Undefined where its bytes are damaged. */
	async loadExtent(ref: ExtentRef): Promise<Extent | undefined> {
		if (ref.pinned !== undefined) return ref.pinned;
		const bytes = ref.at === undefined ? undefined : await readExactly(this.#indexFd, ref.at.offset, ref.at.bytes);
		return bytes === undefined ? undefined : this.#decodeExtent(bytes);
	}

	loadExtentSync(ref: ExtentRef): Extent | undefined {
		if (ref.pinned !== undefined) return ref.pinned;
		if (ref.at === undefined) return undefined;
		const bytes = Buffer.alloc(ref.at.bytes);
		return readSync(this.#indexFd, bytes, 0, bytes.length, ref.at.offset) === bytes.length ? this.#decodeExtent(bytes) : undefined;
	}

	/** Moves its files into another directory, over those of the same names there. Not durable before that directory is. */
	moveTo(dir: string): void {
		const path = join(dir, segmentName(this.header.firstSequence));
		// In this order: an index that belongs to another segment is seen as such and made again.
		renameSync(this.path, path);
		this.path = path;
		renameSync(this.#indexPath, indexPathOf(path));
		this.#indexPath = indexPathOf(path);
	}

	/** Keeps the descriptors open while someone reads. */
	hold(): void {
		this.#holders++;
	}

	/** The last one to let go closes the files. */
	release(): void {
		if (--this.#holders > 0) return;
		closeSync(this.fd);
		closeSync(this.#indexFd);
	}

	/** Removes its files; those who hold it can still read. */
	unlink(): void {
		// Who has been faster has removed it: what is asked for is that it is gone.
		rmSync(this.path, { force: true });
		rmSync(this.#indexPath, { force: true });
	}

	#decodeExtent(bytes: Buffer): Extent | undefined {
		const header = decodeExtentHeader(this.header.id, bytes);
		return header === undefined ? undefined : Extent.decode(this.header.id, header, bytes.subarray(EXTENT_HEADER_BYTES));
	}
}

export function segmentName(firstSequence: number): string {
	return `${String(firstSequence).padStart(16, "0")}.log`;
}

export function isSegmentName(name: string): boolean {
	return /^\d{16}\.log$/.test(name);
}

function indexPathOf(path: string): string {
	return path.replace(/\.log$/, ".idx");
}

/** Creates a directory with what is missing above it, all of it durable: a file is only as safe as the names that lead to it. */
export function makeDirectory(dir: string): void {
	const created = mkdirSync(dir, { recursive: true });
	if (created === undefined) return;
	const last = dirname(resolve(created));
	for (let parent = dirname(resolve(dir)); ; parent = dirname(parent)) {
		syncDirectory(parent);
		if (parent === last) return;
	}
}

/** Makes creations and removals in a directory durable. */
export function syncDirectory(dir: string): void {
	const fd = openSync(dir, "r");
	try {
		fsyncSync(fd);
	} finally {
		closeSync(fd);
	}
}

function readExactly(fd: number, offset: number, length: number): Promise<Buffer | undefined> {
	return new Promise((resolve, reject) => {
		const bytes = Buffer.allocUnsafeSlow(length);
		const more = (got: number): void => {
			read(fd, bytes, got, length - got, offset + got, (error, n) => {
				if (error !== null) reject(error);
				else if (n === 0) resolve(undefined);
				else if (got + n === length) resolve(bytes);
				else more(got + n);
			});
		};
		more(0);
	});
}
