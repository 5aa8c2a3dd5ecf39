/** The crowd of a soak: honest clients with mixed bodies, slow readers, and clients that go away in the middle. */
import { connect, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { messageOf } from "../src/core/errors.ts";
import type { Rng } from "../src/core/rng.ts";
import { Connection } from "./client.ts";
import { bodyOf, bodyPath, ORIGIN_HOST, UPLOAD_PATH } from "./origin.ts";
import { ResponseReader } from "./response-reader.ts";

export const SMALL_BYTES = 100;
export const MIDDLE_BYTES = 10_240;
export const LARGE_BYTES = 1024 * 1024;
// Larger than what the kernel buffers between the two ends, so that the proxy must hold the origin back.
export const SLOW_BYTES = 24 * 1024 * 1024;

const HONEST_CLIENTS = 24;
const HONEST_PAUSE_MS = 5;
const SLOW_CLIENTS = 6;
const SLOW_READ_BYTES = 256 * 1024;
const SLOW_PAUSE_MS = 100;
const ABORT_EVERY_MS = 25;
const UPLOAD_BYTES = 64 * 1024;
const KINDS_OF_FAILURE_MAX = 50;

/** What happened to requests that nobody meant to fail. */
export class Tally {
	requests = 0;
	uploads = 0;
	slowReads = 0;
	aborts = 0;
	/** Of idempotent requests, by what went wrong. */
	readonly failures = new Map<string, number>();

	fail(what: string): void {
		const key = this.failures.has(what) || this.failures.size < KINDS_OF_FAILURE_MAX ? what : "others";
		this.failures.set(key, (this.failures.get(key) ?? 0) + 1);
	}
}

export interface Crowd {
	readonly port: number;
	readonly rng: Rng;
	readonly tally: Tally;
	/** Ends the crowd; requests under way are finished. */
	readonly signal: AbortSignal;
}

/** Resolves when everybody has gone home. */
export async function runCrowd(crowd: Crowd): Promise<void> {
	const honest = Array.from({ length: HONEST_CLIENTS }, () => honestClient(crowd));
	const slow = Array.from({ length: SLOW_CLIENTS }, () => slowReader(crowd));
	await Promise.all([...honest, ...slow, aborters(crowd)]);
}

async function honestClient({ port, rng, tally, signal }: Crowd): Promise<void> {
	const expected = new Map([SMALL_BYTES, MIDDLE_BYTES, LARGE_BYTES].map((bytes) => [bytes, bodyOf(bytes)]));
	let connection: Connection | undefined;
	while (!signal.aborted) {
		const dice = rng();
		const bytes = dice < 0.7 ? SMALL_BYTES : dice < 0.98 ? MIDDLE_BYTES : LARGE_BYTES;
		try {
			connection ??= await Connection.open(port);
			const { status, body } = await connection.request({ host: ORIGIN_HOST, path: bodyPath(bytes) });
			tally.requests++;
			if (status !== 200) tally.fail(`GET of ${bytes} bytes: status ${status}`);
			else if (body?.equals(expected.get(bytes) ?? Buffer.alloc(0)) !== true) tally.fail(`GET of ${bytes} bytes: other bytes arrived`);
		} catch (thrown) {
			tally.fail(`GET of ${bytes} bytes: ${messageOf(thrown)}`);
			connection?.close();
			connection = undefined;
		}
		// Now and then a new connection, as browsers and restarting callers bring.
		if (rng() < 0.01) {
			connection?.close();
			connection = undefined;
		}
		await pause(HONEST_PAUSE_MS);
	}
	connection?.close();
}

async function slowReader({ port, tally, signal }: Crowd): Promise<void> {
	while (!signal.aborted) {
		const failure = await readSlowly(port, signal);
		if (failure === "stopped") return;
		tally.slowReads++;
		if (failure !== undefined) tally.fail(`slow GET of ${SLOW_BYTES} bytes: ${failure}`);
	}
}

function readSlowly(port: number, signal: AbortSignal): Promise<string | undefined> {
	return new Promise((resolve) => {
		const socket = connect({ host: "127.0.0.1", port });
		const reader = new ResponseReader({ keepBody: false });
		let sincePause = 0;
		const stop = () => finish("stopped");
		const finish = (failure: string | undefined) => {
			signal.removeEventListener("abort", stop);
			socket.destroy();
			resolve(failure);
		};
		signal.addEventListener("abort", stop);
		socket.on("data", (chunk) => {
			const progress = reader.push(chunk);
			if (progress.kind === "fault") return finish(progress.fault);
			if (progress.kind === "reply") return finish(progress.reply.status === 200 ? undefined : `status ${progress.reply.status}`);
			sincePause += chunk.length;
			if (sincePause < SLOW_READ_BYTES) return;
			sincePause = 0;
			socket.pause();
			setTimeout(() => socket.resume(), SLOW_PAUSE_MS);
		});
		socket.once("error", (cause) => finish(cause.message));
		socket.once("close", () => finish("the connection was closed before the reply was complete"));
		socket.write(requestHead("GET", bodyPath(SLOW_BYTES), 0));
	});
}

async function aborters({ port, rng, tally, signal }: Crowd): Promise<void> {
	const manners = [abortsInHead, abortsInBody, abortsInReply, closesAfterRequest, uploads];
	while (!signal.aborted) {
		const manner = manners[Math.floor(rng() * manners.length)] ?? abortsInHead;
		const socket = connect({ host: "127.0.0.1", port });
		// Whatever the proxy answers to bad manners is its right.
		socket.on("error", () => undefined);
		manner(socket);
		if (manner === uploads) tally.uploads++;
		else tally.aborts++;
		await pause(ABORT_EVERY_MS);
	}
}

function abortsInHead(socket: Socket): void {
	socket.once("connect", () => socket.write("GET /body-100 HTTP/1.1\r\nhost: or", () => socket.resetAndDestroy()));
}

function abortsInBody(socket: Socket): void {
	socket.write(requestHead("POST", UPLOAD_PATH, UPLOAD_BYTES));
	socket.write(Buffer.alloc(UPLOAD_BYTES / 2), () => socket.resetAndDestroy());
}

function abortsInReply(socket: Socket): void {
	socket.write(requestHead("GET", bodyPath(LARGE_BYTES), 0));
	socket.once("data", () => socket.resetAndDestroy());
}

function closesAfterRequest(socket: Socket): void {
	socket.end(requestHead("GET", bodyPath(LARGE_BYTES), 0));
	socket.resume();
}

function uploads(socket: Socket): void {
	socket.write(requestHead("POST", UPLOAD_PATH, UPLOAD_BYTES));
	socket.write(Buffer.alloc(UPLOAD_BYTES));
	socket.once("data", () => socket.end());
}

function requestHead(method: string, path: string, bodyBytes: number): string {
	return `${method} ${path} HTTP/1.1\r\nhost: ${ORIGIN_HOST}\r\n${method === "POST" ? `content-length: ${bodyBytes}\r\n` : ""}\r\n`;
}
