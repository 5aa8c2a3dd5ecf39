/** A log read from its start over the API: as one stream, and page by page. */
import { cpuTime } from "../cpu.ts";
import { ResponseReader } from "../response-reader.ts";
import { figure, thousands } from "../table.ts";
import { launchNexus } from "./launch-nexus.ts";
import type { Budget, PartReport, Stage } from "./part.ts";
import { NumberScanner } from "./publish-events.ts";
import { fromFollower } from "./receivers.ts";
import { dial } from "./sockets.ts";
import { storeEvents } from "./stored-log.ts";

export const REPLAY: Budget = { least: 300_000, unit: "/s" };
const PAGE_EVENTS = 1000;

interface Replayed {
	readonly way: string;
	readonly perSecond: number;
	readonly cpuUsPerEvent: number;
}

export async function measureReplay(stage: Stage): Promise<PartReport> {
	const { workspace, cores, progress, options } = stage;
	const count = options.replayEvents;
	const dir = await storeEvents(stage, count);
	const { child, port } = await launchNexus(workspace, cores.proxy, dir);
	const replayed: Replayed[] = [];
	const take = async (way: string, read: () => Promise<void>): Promise<void> => {
		progress.step(`replay of ${thousands(count)} events: ${way}`);
		const before = cpuTime(child.pid);
		const startedAt = performance.now();
		await read();
		const seconds = (performance.now() - startedAt) / 1000;
		const after = cpuTime(child.pid);
		const cpuUs = after.userUs + after.systemUs - before.userUs - before.systemUs;
		replayed.push({ way, perSecond: count / seconds, cpuUsPerEvent: cpuUs / count });
	};
	try {
		await take("server-sent events, the first time", () => followAll(port, count));
		await take("server-sent events, again", () => followAll(port, count));
		await take(`pages of ${thousands(PAGE_EVENTS)}`, () => pageThrough(port, count));
	} finally {
		await workspace.stop(child);
	}
	return {
		tables: [
			{
				title: `Replay of ${thousands(count)} events`,
				columns: ["", "events/s", "CPU us/event"],
				rows: replayed.map(({ way, perSecond, cpuUsPerEvent }) => [way, thousands(perSecond), figure(cpuUsPerEvent, 2)]),
				notes: [],
			},
		],
		verdicts: [{ what: "replay over the API", budget: REPLAY, value: replayed[0]?.perSecond ?? Number.NaN }],
		figures: replayed,
	};
}

/** Rejects where an event is missing or stands at another place. */
function followAll(port: number, count: number): Promise<void> {
	return new Promise((resolve, reject) => {
		const check = inOrder(count);
		const scanner = new NumberScanner((number) => {
			if (!check(number)) reject(new Error(`event ${number} came out of order`));
			if (number === count - 1) opening.then((receiver) => resolve(receiver.close()), reject);
		});
		const opening = fromFollower(port, 0)({ received: (bytes) => scanner.push(bytes), failed: reject });
		opening.catch(reject);
	});
}

async function pageThrough(port: number, count: number): Promise<void> {
	const check = inOrder(count);
	let isInOrder = true;
	const socket = await dial(port);
	try {
		for (let after = 0; after < count; after += PAGE_EVENTS) {
			const scanner = new NumberScanner((number) => {
				isInOrder &&= check(number);
			});
			scanner.push(await get(socket, port, `/v1/events?after=${after}&limit=${PAGE_EVENTS}`));
			if (!isInOrder) throw new Error(`the page behind ${after} is not in order`);
		}
	} finally {
		socket.destroy();
	}
}

function get(socket: Awaited<ReturnType<typeof dial>>, port: number, path: string): Promise<Buffer> {
	return new Promise((resolve, reject) => {
		const reader = new ResponseReader({ keepBody: true });
		const take = (chunk: Buffer): void => {
			const progress = reader.push(chunk);
			if (progress.kind === "more") return;
			socket.off("data", take);
			if (progress.kind === "reply" && progress.reply.status === 200) resolve(progress.reply.body ?? Buffer.alloc(0));
			else reject(new Error(progress.kind === "fault" ? progress.fault : `status ${progress.reply.status}`));
		};
		socket.on("data", take);
		socket.write(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`);
	});
}

function inOrder(count: number): (number: number) => boolean {
	let next = 0;
	return (number) => number === next++ && number < count;
}
