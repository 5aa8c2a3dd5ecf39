/** Pools and connections over real sockets, on a clock that moves only when a test says so. */
import assert from "node:assert/strict";
import type { LookupFunction } from "node:net";
import type { TestContext } from "node:test";
import { type Deadline, DeadlineWheel } from "../../src/core/deadline-wheel.ts";
import type { Reason } from "../../src/core/reasons.ts";
import type { BodyDecoder } from "../../src/http1/body-decoder.ts";
import type { ResponseParser } from "../../src/http1/response-parser.ts";
import { LoopMemory } from "../../src/net/loop-memory.ts";
import type { Address } from "../../src/policy/snapshot.ts";
import { type ConnectionOwner, Http1Connection } from "../../src/upstream/http1-connection.ts";
import { Pool, type PoolOptions, type Waiter } from "../../src/upstream/pool.ts";
import type { ResponseHandler } from "../../src/upstream/response-handler.ts";
import { FakeClock } from "../support/fake-clock.ts";

/** Nothing that a test here waits for is slower than this on the fake clock. */
export const LATE_MAX_MS = 100;

export function tcp(port: number, host = "127.0.0.1"): Address {
	return { kind: "tcp", host, port };
}

/** Never answers: a connection that uses it stays at connecting for ever. */
export const lookupForEver: LookupFunction = () => {};

export class Bench {
	readonly clock = new FakeClock();
	readonly wheel = new DeadlineWheel(this.clock);
	readonly shared = new LoopMemory();
	readonly #t: TestContext;

	constructor(t: TestContext) {
		this.#t = t;
	}

	pool(address: Address, options: Partial<PoolOptions> = {}): Pool {
		const pool = new Pool({ ...POOL, address, ...options }, this.wheel, this.shared);
		this.#t.after(() => pool.destroy());
		return pool;
	}

	waiter(pool: Pool): TestWaiter {
		const waiter = new TestWaiter(this.wheel);
		waiter.accepted = pool.wait(waiter);
		return waiter;
	}

	/** A connection that carries requests, taken from the pool or opened for it. */
	async connection(pool: Pool): Promise<Http1Connection> {
		return pool.takeIdle() ?? (await this.waiter(pool).connection());
	}

	/** A connection without a pool. */
	single(address: Address, owner: Owner, options: { lookup?: LookupFunction } = {}): Http1Connection {
		const connection = new Http1Connection({ address, connectTimeoutMs: 1000, idleTimeoutMs: 60_000, ...options }, owner, this.wheel, this.shared);
		this.#t.after(() => connection.close());
		return connection;
	}
}

export const POOL: Omit<PoolOptions, "address"> = {
	connectTimeoutMs: 1000,
	idleTimeoutMs: 60_000,
	connectionsMax: 100,
	pendingMax: 100,
	pendingTimeoutMs: 1000,
	holdWhileRefused: false,
};

/** Notes how its wait ended. */
export class TestWaiter implements Waiter {
	readonly waitDeadline: Deadline;
	waitsIn: Pool | undefined;
	/** Whether the queue took it. */
	accepted = false;
	ended: { connection: Http1Connection } | { reason: Reason; detail: string } | undefined;
	readonly #end = Promise.withResolvers<void>();

	constructor(wheel: DeadlineWheel) {
		this.waitDeadline = wheel.deadline(() => this.waitsIn?.expire(this));
	}

	onConnection(connection: Http1Connection): void {
		assert.equal(this.ended, undefined, "a wait ends once");
		// In use from now on, as by an attempt.
		connection.send(new Handler(), "", true, false, false);
		this.ended = { connection };
		this.#end.resolve();
	}

	onNoConnection(reason: Reason, detail: string): void {
		assert.equal(this.ended, undefined, "a wait ends once");
		this.ended = { reason, detail };
		this.#end.resolve();
	}

	async connection(): Promise<Http1Connection> {
		assert.ok(this.accepted, "the queue is full");
		await this.#end.promise;
		assert.ok(this.ended !== undefined && "connection" in this.ended, JSON.stringify(this.ended));
		return this.ended.connection;
	}

	async refusal(): Promise<{ reason: Reason; detail: string }> {
		assert.ok(this.accepted, "the queue is full");
		await this.#end.promise;
		assert.ok(this.ended !== undefined && "reason" in this.ended, "got a connection");
		return this.ended;
	}
}

/** Notes what an answer consists of. */
export class Handler implements ResponseHandler {
	status = 0;
	body = "";
	done = false;
	interims: number[] = [];
	upgraded: string | undefined;
	broken: { reason: Reason; detail: string } | undefined;
	/** Called at the end of the answer, as the exchange releases its connection. */
	onDone: () => void = () => {};
	readonly #changed = new Set<() => void>();

	onResponse(parser: ResponseParser, body: BodyDecoder, buffer: Buffer): void {
		this.status = parser.status;
		this.onBody(body, buffer);
	}

	onBody(body: BodyDecoder, buffer: Buffer): void {
		assert.equal(this.done, false, "more after the end");
		this.body += buffer.toString("latin1", body.dataStart, body.dataEnd);
		this.done = body.done;
		if (this.done) this.onDone();
		this.#notify();
	}

	onInterim(parser: ResponseParser): void {
		this.interims.push(parser.status);
		this.#notify();
	}

	onUpgraded(_parser: ResponseParser, buffer: Buffer, from: number, to: number): void {
		this.upgraded = buffer.toString("latin1", from, to);
		this.#notify();
	}

	onBroken(reason: Reason, detail: string): void {
		assert.equal(this.broken, undefined, "broken twice");
		this.broken = { reason, detail };
		this.#notify();
	}

	onWritable(): void {}

	async until(holds: (handler: this) => boolean): Promise<void> {
		await new Promise<void>((resolve) => {
			const look = (): void => {
				if (!holds(this)) return;
				this.#changed.delete(look);
				resolve();
			};
			this.#changed.add(look);
			look();
		});
	}

	#notify(): void {
		for (const look of this.#changed) look();
	}
}

/** The pool's side of a connection, in notes. */
export class Owner implements ConnectionOwner {
	readonly notes: string[] = [];
	readonly #waiting: (() => void)[] = [];

	onConnected(): void {
		this.#note("connected");
	}

	onConnectFailed(_connection: Http1Connection, reason: Reason, detail: string): void {
		this.#note(`failed: ${reason}: ${detail}`);
	}

	onReusable(): void {
		this.#note("reusable");
	}

	onClosed(): void {
		this.#note("closed");
	}

	async until(note: string): Promise<void> {
		while (!this.notes.some((noted) => noted.startsWith(note))) await new Promise<void>((resolve) => this.#waiting.push(resolve));
	}

	#note(text: string): void {
		this.notes.push(text);
		for (const resolve of this.#waiting.splice(0)) resolve();
	}
}

/** Resolves once `holds` does; it is looked at in every turn of the event loop. The test's time limit ends a hang. */
export async function until(holds: () => boolean): Promise<void> {
	while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}
