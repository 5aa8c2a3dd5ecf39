/**
 * A program: load at a constant rate, each latency counted from the moment at which the request was meant to leave, so that a
 * proxy that stalls pays for everyone who waits (no coordinated omission). Argument: JSON of `RateRequest`; prints `RateResult`.
 */
import { connect, type Socket } from "node:net";
import { RingQueue } from "../src/core/ring-queue.ts";
import { nowMs, startMetronome } from "./metronome.ts";
import type { RateRequest, RateResult } from "./open-load.ts";
import { ResponseReader } from "./response-reader.ts";
import { percentile } from "./stats.ts";

// Connections are opened and the first requests sent before the clock counts.
const LEAD_MS = 200;
// After the last intended moment: a reply that takes longer counts as a fault.
const GRACE_MS = 5000;
const KINDS_OF_FAULT_MAX = 20;
// A proxy that refuses every connection must not turn the generator into a storm.
const REPLACEMENTS_MAX = 100;

class Client {
	readonly #run: Run;
	readonly #reader = new ResponseReader({ keepBody: false });
	#socket: Socket;
	#intendedAt = Number.NaN;
	#cause = "the connection was closed before the reply was complete";

	constructor(run: Run) {
		this.#run = run;
		this.#socket = this.#open();
	}

	send(intendedAt: number): void {
		this.#intendedAt = intendedAt;
		this.#socket.write(this.#run.head);
	}

	end(): void {
		this.#socket.removeAllListeners("close");
		this.#socket.destroy();
	}

	#open(): Socket {
		const socket = connect({ host: "127.0.0.1", port: this.#run.request.port, noDelay: true });
		socket.once("connect", () => this.#run.free(this));
		socket.on("data", (chunk) => this.#take(chunk));
		socket.on("error", (cause) => {
			this.#cause = cause.message;
		});
		socket.once("close", () => this.#run.lost(this, Number.isNaN(this.#intendedAt) ? undefined : this.#cause));
		return socket;
	}

	#take(chunk: Buffer | string): void {
		const progress = this.#reader.push(chunk);
		if (progress.kind === "more") return;
		if (progress.kind === "fault") this.#run.fault(progress.fault);
		else if (progress.reply.status !== 200) this.#run.fault(`status ${progress.reply.status}`);
		else if (progress.reply.bodyBytes !== this.#run.request.bodyBytes) this.#run.fault(`a body of ${progress.reply.bodyBytes} bytes`);
		else this.#run.answered(this.#intendedAt);
		this.#intendedAt = Number.NaN;
		if (progress.kind === "fault") this.#socket.destroy();
		else this.#run.free(this);
	}
}

class Run {
	readonly request: RateRequest;
	readonly head: string;
	readonly #startMs: number;
	readonly #firstCountedMs: number;
	readonly #total: number;
	readonly #idle: Client[] = [];
	readonly #clients: Client[] = [];
	readonly #waiting: RingQueue<number>;
	readonly #latencies: Float64Array;
	readonly #faults = new Map<string, number>();
	#counted = 0;
	#sent = 0;
	#settled = 0;
	#lateMaxMs = 0;
	readonly #finish: (result: RateResult) => void;

	constructor(request: RateRequest, finish: (result: RateResult) => void) {
		this.request = request;
		this.#finish = finish;
		this.head = `GET ${request.path} HTTP/1.1\r\nhost: ${request.host}\r\n\r\n`;
		this.#total = Math.round((request.warmSeconds + request.seconds) * request.rate);
		this.#startMs = nowMs() + LEAD_MS;
		this.#firstCountedMs = this.#startMs + request.warmSeconds * 1000;
		this.#latencies = new Float64Array(this.#total);
		this.#waiting = new RingQueue(this.#total);
		for (let i = 0; i < request.connections; i++) this.#clients.push(new Client(this));
		const intervalMs = 1000 / request.rate;
		startMetronome({ startMs: this.#startMs, intervalMs, count: this.#total }, (due) => {
			while (this.#sent < due) this.#launch(this.#startMs + this.#sent++ * intervalMs);
		});
		setTimeout(() => this.#end(), LEAD_MS + (request.warmSeconds + request.seconds) * 1000 + GRACE_MS);
	}

	free(client: Client): void {
		const intendedAt = this.#waiting.shift();
		if (intendedAt === undefined) this.#idle.push(client);
		else client.send(intendedAt);
	}

	answered(intendedAt: number): void {
		if (intendedAt >= this.#firstCountedMs) this.#latencies[this.#counted++] = nowMs() - intendedAt;
		this.#settle();
	}

	fault(text: string): void {
		const known = this.#faults.has(text) || this.#faults.size < KINDS_OF_FAULT_MAX;
		const kind = known ? text : "others";
		this.#faults.set(kind, (this.#faults.get(kind) ?? 0) + 1);
		this.#settle();
	}

	/** A connection has ended: that is the proxy's right while it is idle (`cause` undefined), and a fault with a request on it. */
	lost(client: Client, cause: string | undefined): void {
		const at = this.#idle.indexOf(client);
		if (at >= 0) this.#idle.splice(at, 1);
		if (cause !== undefined) this.fault(cause);
		if (this.#clients.length < this.request.connections * REPLACEMENTS_MAX) this.#clients.push(new Client(this));
	}

	#launch(intendedAt: number): void {
		this.#lateMaxMs = Math.max(this.#lateMaxMs, nowMs() - intendedAt);
		const client = this.#idle.pop();
		if (client === undefined) this.#waiting.push(intendedAt);
		else client.send(intendedAt);
	}

	#settle(): void {
		if (++this.#settled === this.#total) this.#end();
	}

	#end(): void {
		for (const client of this.#clients) client.end();
		const unanswered = this.#total - this.#settled;
		if (unanswered > 0) this.#faults.set("no reply in time", unanswered);
		const sorted = this.#latencies.subarray(0, this.#counted).sort();
		this.#finish({
			requests: this.#counted,
			p50Ms: percentile(sorted, 0.5),
			p99Ms: percentile(sorted, 0.99),
			maxMs: percentile(sorted, 1),
			sentLateMaxMs: this.#lateMaxMs,
			faults: [...this.#faults].map(([text, count]) => `${count} x ${text}`),
		});
	}
}

const [argument] = process.argv.slice(2);
if (argument === undefined) throw new Error("usage: load.ts JSON");

new Run(JSON.parse(argument) as RateRequest, (result) => {
	process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
});
