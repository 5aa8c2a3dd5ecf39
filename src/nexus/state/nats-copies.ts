/** Copies of a whole state in a bucket of NATS, so that its log can be cut and a node need not read all of it. */
import type { JetStreamManager } from "@nats-io/jetstream";
import type { KV } from "@nats-io/kv";
import { COPY_CHUNK_BYTES } from "./limits.ts";
import type { TablesImage } from "./tables.ts";

export interface Copy {
	/** The last message of the log that it holds. */
	readonly sequence: number;
	readonly image: TablesImage;
	readonly bytes: number;
}

interface Latest {
	readonly sequence: number;
	readonly revision: number;
	readonly chunks: number;
	readonly bytes: number;
}

interface Chunk {
	readonly entries: TablesImage["entries"];
	readonly cursors: TablesImage["cursors"];
}

const LATEST = "latest";
const LOAD_TRIES = 5;

/** Undefined: there is none yet. */
export async function loadCopy(copies: KV): Promise<Copy | undefined> {
	for (let tries = 1; ; tries++) {
		const latest = await latestOf(copies);
		if (latest === undefined) return undefined;
		const { sequence, revision, bytes } = latest.value;
		const entries: TablesImage["entries"][number][] = [];
		const cursors: TablesImage["cursors"][number][] = [];
		let found = 0;
		for (; found < latest.value.chunks; found++) {
			const chunk = await copies.get(chunkKey(sequence, found));
			if (chunk === null) break;
			const part = chunk.json<Chunk>();
			for (const entry of part.entries) entries.push(entry);
			for (const cursor of part.cursors) cursors.push(cursor);
		}
		if (found === latest.value.chunks) return { sequence, bytes, image: { revision, entries, cursors } };
		// Two newer ones were made while this one was read.
		if (tries === LOAD_TRIES) throw new Error(`a copy of the state at ${sequence} lacks its part ${found}`);
	}
}

/** Where the newest copy ends and how large it is. */
export async function newestCopy(copies: KV): Promise<{ readonly sequence: number; readonly bytes: number } | undefined> {
	return (await latestOf(copies))?.value;
}

/** False: somebody has made a newer one meanwhile. The copy before it stays, for who is reading it. */
export async function saveCopy(
	copies: KV,
	manager: JetStreamManager,
	sequence: number,
	image: TablesImage,
): Promise<{ readonly isNewest: boolean; readonly bytes: number }> {
	let chunks = 0;
	let bytes = 0;
	for (const chunk of chunksOf(image)) {
		bytes += chunk.length;
		await copies.put(chunkKey(sequence, chunks++), chunk);
	}
	const before = await latestOf(copies);
	const isNewest = before === undefined || before.value.sequence < sequence;
	if (isNewest) {
		const latest = JSON.stringify({ sequence, revision: image.revision, chunks, bytes } satisfies Latest);
		// A refusal: another was quicker. The caller tells, and tries again when the log has grown.
		if (before === undefined) await copies.create(LATEST, latest);
		else await copies.update(LATEST, latest, before.revision);
	}
	const kept = new Set(isNewest ? [sequence, before?.value.sequence] : [before.value.sequence]);
	await removeChunks(copies, manager, (other) => !kept.has(other) && other <= sequence);
	return { isNewest, bytes };
}

async function latestOf(copies: KV): Promise<{ readonly value: Latest; readonly revision: number } | undefined> {
	const entry = await copies.get(LATEST);
	return entry === null ? undefined : { value: entry.json<Latest>(), revision: entry.revision };
}

/** By purging their subjects: a key-value deletion would leave a marker of each for ever. */
async function removeChunks(copies: KV, manager: JetStreamManager, isStale: (sequence: number) => boolean): Promise<void> {
	const stale = new Set<string>();
	for await (const key of await copies.keys("chunk.>")) {
		const sequence = key.split(".")[1] ?? "";
		if (isStale(Number(sequence))) stale.add(sequence);
	}
	const { streamInfo } = await copies.status();
	const bucket = streamInfo.config.name;
	for (const sequence of stale) await manager.streams.purge(bucket, { filter: `$KV.${bucket.slice("KV_".length)}.chunk.${sequence}.>` });
}

function chunkKey(sequence: number, index: number): string {
	return `chunk.${sequence}.${index}`;
}

function* chunksOf({ entries, cursors }: TablesImage): Generator<string> {
	let chunk = { entries: [] as TablesImage["entries"][number][], cursors: [] as TablesImage["cursors"][number][] };
	let size = 0;
	const isFull = (next: number): boolean => size > 0 && size + next > COPY_CHUNK_BYTES;
	const flush = (): string => {
		const text = JSON.stringify(chunk);
		chunk = { entries: [], cursors: [] };
		size = 0;
		return text;
	};
	for (const entry of entries) {
		if (isFull(entry[2].length)) yield flush();
		chunk.entries.push(entry);
		size += entry[2].length + entry[1].length;
	}
	for (const cursor of cursors) {
		if (isFull(cursor[1].length)) yield flush();
		chunk.cursors.push(cursor);
		size += cursor[1].length + cursor[0].length;
	}
	yield flush();
}
