/** How far Nexus has acknowledged each priority: two slots written in turn, so that a torn write leaves the one before. */
import { crc32 } from "node:zlib";
import type { Disk } from "./disk.ts";

//   0        8         16
// [ crc32,0 | writes  | acknowledged sequence of priority 0 | 1 | ... ]    the slot with the most writes that is whole counts

const HEAD_BYTES = 16;
// A slot to a block of the file system: what tears one leaves the other alone.
const SLOT_BYTES = 4096;

export class PositionFile {
	readonly #disk: Disk;
	readonly #path: string;
	readonly #bytes: Buffer;
	#writes: number;
	#fd: number | undefined;

	private constructor(disk: Disk, path: string, priorities: number, writes: number) {
		this.#disk = disk;
		this.#path = path;
		this.#bytes = Buffer.alloc(HEAD_BYTES + priorities * 8);
		this.#writes = writes;
	}

	/** `acknowledged`: by priority, -1 where nothing was; all of them where there is no file, or no whole slot. Creates nothing. */
	static async read(disk: Disk, path: string, priorities: number): Promise<{ file: PositionFile; acknowledged: number[] }> {
		const bytes = await disk.read(path, 2 * SLOT_BYTES).catch(() => Buffer.alloc(0));
		const slots = [0, SLOT_BYTES].map((at) => readSlot(bytes.subarray(at, at + HEAD_BYTES + priorities * 8), priorities));
		const [one, two] = slots;
		const newest = (two?.writes ?? -1) > (one?.writes ?? -1) ? two : one;
		const file = new PositionFile(disk, path, priorities, newest?.writes ?? 0);
		return { file, acknowledged: newest?.acknowledged ?? Array.from({ length: priorities }, () => -1) };
	}

	/** Not durable, and need not be: an older position only means that Nexus is told again what it knows. */
	async write(acknowledged: readonly number[]): Promise<void> {
		this.#fd ??= await this.#disk.open(this.#path);
		const bytes = this.#bytes;
		bytes.writeDoubleLE(++this.#writes, 8);
		acknowledged.forEach((sequence, priority) => {
			bytes.writeDoubleLE(sequence, HEAD_BYTES + priority * 8);
		});
		bytes.writeUInt32LE(crc32(bytes.subarray(8)), 0);
		await this.#disk.write(this.#fd, bytes, (this.#writes % 2) * SLOT_BYTES);
	}

	async close(): Promise<void> {
		const fd = this.#fd;
		this.#fd = undefined;
		if (fd !== undefined) await this.#disk.close(fd);
	}
}

function readSlot(bytes: Buffer, priorities: number): { writes: number; acknowledged: number[] } | undefined {
	if (bytes.length < HEAD_BYTES + priorities * 8 || bytes.readUInt32LE(0) !== crc32(bytes.subarray(8))) return undefined;
	const acknowledged = Array.from({ length: priorities }, (_, priority) => bytes.readDoubleLE(HEAD_BYTES + priority * 8));
	return { writes: bytes.readDoubleLE(8), acknowledged };
}
