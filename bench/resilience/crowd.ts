/**
 * A program: clients that send at a constant rate over kept-alive connections and give up after a while, as people do. Latency counts from
 * the moment at which a request was meant to leave (no coordinated omission). Argument: JSON of `CrowdRequest`; prints `CrowdResult`.
 */
import { connect, type Socket } from "node:net";
import { nowMs, startMetronome } from "../metronome.ts";
import { ResponseReader } from "../response-reader.ts";
import { percentile } from "../stats.ts";
import type { CrowdRequest, CrowdResult } from "./run-crowd.ts";

const KINDS_MAX = 20;
// After a connection that came to nothing, so that a proxy which takes none is not stormed.
const RECONNECT_MS = 50;

/** One request: it ends once, by whatever comes first. */
interface Ask {
	readonly intendedAt: number;
	client: Client | undefined;
	ended: boolean;
}

class Client {
	readonly #crowd: Crowd;
	readonly #socket: Socket;
	readonly #reader = new ResponseReader({ keepBody: false });
	#ask: Ask | undefined;
	#cause = "closed";
	#connected = false;

	constructor(crowd: Crowd, port: number) {
		this.#crowd = crowd;
		this.#socket = connect({ host: "127.0.0.1", port, noDelay: true });
		this.#socket.once("connect", () => {
			this.#connected = true;
			crowd.free(this);
		});
		this.#socket.on("data", (chunk) => this.#take(chunk));
		this.#socket.on("error", (cause) => {
			this.#cause = "code" in cause ? String(cause.code) : cause.message;
		});
		this.#socket.once("close", () => {
			if (this.#ask !== undefined) crowd.end(this.#ask, this.#cause);
			crowd.lost(this, this.#connected ? 0 : RECONNECT_MS);
		});
	}

	send(ask: Ask, head: string): void {
		this.#ask = ask;
		ask.client = this;
		this.#socket.write(head);
	}

	/** Nobody waits any more. */
	giveUp(): void {
		this.#ask = undefined;
		this.#socket.destroy();
	}

	#take(chunk: Buffer | string): void {
		const progress = this.#reader.push(chunk);
		if (progress.kind === "more") return;
		const ask = this.#ask;
		if (progress.kind === "fault" || ask === undefined) {
			this.#cause = progress.kind === "fault" ? progress.fault : "an answer that nobody asked for";
			this.#socket.destroy();
			return;
		}
		this.#ask = undefined;
		const { status, head } = progress.reply;
		this.#crowd.end(ask, status === 200 ? undefined : `${status}${reasonOf(head)}`);
		// A peer that says so closes: the next request must not race with it.
		if (/\r\nconnection: *close/i.test(head)) this.#socket.destroy();
		else this.#crowd.free(this);
	}
}

class Crowd {
	readonly #request: CrowdRequest;
	readonly #head: string;
	readonly #total: number;
	readonly #idle: Client[] = [];
	readonly #waiting: Ask[] = [];
	readonly #latencies: Float64Array;
	readonly #failures = new Map<string, number>();
	readonly #finish: (result: CrowdResult) => void;
	#sent = 0;
	#ended = 0;
	#counted = 0;
	#succeeded = 0;
	#lateMaxMs = 0;

	constructor(request: CrowdRequest, finish: (result: CrowdResult) => void) {
		this.#request = request;
		this.#finish = finish;
		this.#head = `GET ${request.path} HTTP/1.1\r\nhost: ${request.host}\r\n\r\n`;
		this.#total = Math.round((request.warmSeconds + request.seconds) * request.rate);
		this.#latencies = new Float64Array(this.#total);
		for (let i = 0; i < request.connections; i++) this.#connect();
		const startMs = request.startMs - request.warmSeconds * 1000;
		const intervalMs = 1000 / request.rate;
		startMetronome({ startMs, intervalMs, count: this.#total }, (due) => {
			while (this.#sent < due) this.#launch(startMs + this.#sent++ * intervalMs);
		});
	}

	free(client: Client): void {
		let ask = this.#waiting.shift();
		while (ask?.ended === true) ask = this.#waiting.shift();
		if (ask === undefined) this.#idle.push(client);
		else client.send(ask, this.#head);
	}

	lost(client: Client, waitMs: number): void {
		const at = this.#idle.indexOf(client);
		if (at >= 0) this.#idle.splice(at, 1);
		if (this.#ended < this.#total) setTimeout(() => this.#connect(), waitMs);
	}

	/** `failure` undefined: answered with 200. */
	end(ask: Ask, failure: string | undefined): void {
		if (ask.ended) return;
		ask.ended = true;
		this.#ended++;
		if (ask.intendedAt >= this.#request.startMs) this.#count(nowMs() - ask.intendedAt, failure);
		if (this.#ended === this.#total) this.#report();
	}

	#launch(intendedAt: number): void {
		const lateMs = nowMs() - intendedAt;
		this.#lateMaxMs = Math.max(this.#lateMaxMs, lateMs);
		const ask: Ask = { intendedAt, client: undefined, ended: false };
		setTimeout(() => this.#giveUp(ask), this.#request.patienceMs - lateMs);
		// The one that has rested longest: all connections take their turns.
		const client = this.#idle.shift();
		if (client === undefined) this.#waiting.push(ask);
		else client.send(ask, this.#head);
	}

	#giveUp(ask: Ask): void {
		if (ask.ended) return;
		this.end(ask, ask.client === undefined ? "no free connection" : "gave up");
		ask.client?.giveUp();
	}

	#connect(): void {
		new Client(this, this.#request.port);
	}

	#count(latencyMs: number, failure: string | undefined): void {
		this.#latencies[this.#counted++] = latencyMs;
		if (failure === undefined) {
			this.#succeeded++;
			return;
		}
		const kind = this.#failures.has(failure) || this.#failures.size < KINDS_MAX ? failure : "others";
		this.#failures.set(kind, (this.#failures.get(kind) ?? 0) + 1);
	}

	#report(): void {
		const sorted = this.#latencies.subarray(0, this.#counted).sort();
		this.#finish({
			requests: this.#counted,
			succeeded: this.#succeeded,
			failures: Object.fromEntries(this.#failures),
			p50Ms: percentile(sorted, 0.5),
			p99Ms: percentile(sorted, 0.99),
			p999Ms: percentile(sorted, 0.999),
			sentLateMaxMs: this.#lateMaxMs,
		});
	}
}

// Ours says why; Envoy does so in its body only.
function reasonOf(head: string): string {
	const reason = /\r\nx-nexus-reason: *(\w+)/i.exec(head)?.[1];
	return reason === undefined ? "" : ` ${reason}`;
}

const [argument] = process.argv.slice(2);
if (argument === undefined) throw new Error("usage: crowd.ts JSON");

new Crowd(JSON.parse(argument) as CrowdRequest, (result) => {
	process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
});
