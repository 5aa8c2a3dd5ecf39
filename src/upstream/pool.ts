/** The connections to one endpoint: newest first when idle, a maximum, a bounded queue for who must wait. */
import type { LookupFunction } from "node:net";
import type { Deadline, DeadlineWheel } from "../core/deadline-wheel.ts";
import type { Reason } from "../core/reasons.ts";
import type { LoopMemory } from "../net/loop-memory.ts";
import { TlsSessions } from "../net/tls-sessions.ts";
import type { Address } from "../policy/snapshot.ts";
import type { Encryption } from "./encryption.ts";
import { type ConnectionOwner, Http1Connection } from "./http1-connection.ts";

/** Between two attempts to reach an application that is not up. */
const REDIAL_MS = 100;

export interface PoolOptions {
	readonly address: Address;
	readonly connectTimeoutMs: number;
	readonly idleTimeoutMs: number;
	readonly connectionsMax: number;
	readonly pendingMax: number;
	readonly pendingTimeoutMs: number;
	/** The endpoint is our own application: while it refuses connections, requests are held back up to `pendingTimeoutMs`. */
	readonly holdWhileRefused: boolean;
	readonly lookup?: LookupFunction;
	/** Undefined: plain text. */
	readonly encryption?: Encryption;
}

/** Somebody who wants a connection. One object per attempt; it stands in one queue at a time. */
export interface Waiter {
	readonly waitDeadline: Deadline;
	waitsIn: Pool | undefined;
	onConnection(connection: Http1Connection): void;
	onNoConnection(reason: Reason, detail: string): void;
}

export interface PoolStats {
	open: number;
	idle: number;
	pending: number;
	connects: number;
	connectFailures: number;
	overflows: number;
}

export class Pool implements ConnectionOwner {
	#options: PoolOptions;
	readonly #wheel: DeadlineWheel;
	readonly #shared: LoopMemory;
	// idle: [ oldest ... newest ]; taken and returned at the end, so that surplus connections age and close.
	readonly #idle: Http1Connection[] = [];
	readonly #all = new Set<Http1Connection>();
	/** In order of arrival; a Set, because a waiter may leave from the middle. */
	readonly #waiters = new Set<Waiter>();
	#connecting = 0;
	#retired = false;
	#refusal: { reason: Reason; detail: string } | undefined;
	readonly #redial: Deadline;
	/** Of this endpoint alone: another instance could not resume them. */
	#sessions = new TlsSessions();
	connects = 0;
	connectFailures = 0;
	overflows = 0;

	constructor(options: PoolOptions, wheel: DeadlineWheel, shared: LoopMemory) {
		this.#options = options;
		this.#wheel = wheel;
		this.#shared = shared;
		this.#redial = wheel.deadline(() => this.#connectForWaiters());
	}

	get stats(): PoolStats {
		return {
			open: this.#all.size,
			idle: this.#idle.length,
			pending: this.#waiters.size,
			connects: this.connects,
			connectFailures: this.connectFailures,
			overflows: this.overflows,
		};
	}

	/** New limits and timeouts; connections that exist keep theirs, unless they are encrypted in another way now. */
	configure(options: PoolOptions): void {
		if (options.encryption !== this.#options.encryption) {
			this.#sessions = new TlsSessions();
			this.drain();
		}
		this.#options = options;
	}

	/** The newest idle connection, or undefined: then `wait`. */
	takeIdle(): Http1Connection | undefined {
		for (;;) {
			const connection = this.#idle.pop();
			// One that is being closed tells so only in a later turn of the loop.
			if (connection === undefined || !connection.socket.destroyed) return connection;
		}
	}

	/** Queues for a connection, opening one where that is allowed. False where the queue is full. */
	wait(waiter: Waiter): boolean {
		if (this.#waiters.size >= this.#options.pendingMax || this.#retired) {
			this.overflows++;
			return false;
		}
		this.#waiters.add(waiter);
		waiter.waitsIn = this;
		waiter.waitDeadline.arm(this.#options.pendingTimeoutMs);
		if (this.#redial.dueTick === Number.POSITIVE_INFINITY) this.#connectForWaiters();
		return true;
	}

	/** The waiter has given up, or its deadline has fired. */
	leave(waiter: Waiter): void {
		this.#waiters.delete(waiter);
		waiter.waitsIn = undefined;
		waiter.waitDeadline.disarm();
	}

	/** Why a wait ended without a connection. */
	expire(waiter: Waiter): void {
		this.leave(waiter);
		const refusal = this.#refusal;
		if (this.#options.holdWhileRefused && refusal !== undefined) waiter.onNoConnection("application_not_ready", refusal.detail);
		else if (this.#connecting > 0 && this.#connecting === this.#all.size)
			waiter.onNoConnection("connect_timeout", "no connection was accepted in time");
		else waiter.onNoConnection("queue_timeout", `no connection became free within ${this.#options.pendingTimeoutMs} ms`);
	}

	/** The endpoint is gone or unhealthy: idle connections close now, busy ones after their answer, waiters are told. */
	retire(reason: Reason): void {
		this.#retired = true;
		this.drain();
		this.#redial.disarm();
		for (const waiter of [...this.#waiters]) this.#refuse(waiter, reason, "the endpoint was removed");
	}

	/** Idle connections close now, busy ones after their answer; new ones may be opened. */
	drain(): void {
		for (const connection of [...this.#all]) connection.retire();
		this.#idle.length = 0;
	}

	/** Closes everything at once. */
	destroy(): void {
		this.#retired = true;
		this.#redial.disarm();
		for (const connection of [...this.#all]) connection.close();
	}

	onConnected(connection: Http1Connection): void {
		this.#connecting--;
		this.#refusal = undefined;
		this.onReusable(connection);
		// While the application refused, only one attempt was made for all who wait.
		if (this.#options.holdWhileRefused) this.#connectForWaiters();
	}

	onConnectFailed(connection: Http1Connection, reason: Reason, detail: string): void {
		this.#all.delete(connection);
		this.#connecting--;
		this.connectFailures++;
		if (this.#options.holdWhileRefused) {
			this.#refusal = { reason, detail };
			if (this.#waiters.size > 0 && !this.#retired) this.#redial.arm(REDIAL_MS);
			return;
		}
		const [first] = this.#waiters;
		if (first !== undefined) this.#refuse(first, reason, detail);
		this.#connectForWaiters();
	}

	onReusable(connection: Http1Connection): void {
		const [first] = this.#waiters;
		if (first === undefined) {
			this.#idle.push(connection);
			return;
		}
		this.leave(first);
		first.onConnection(connection);
	}

	onClosed(connection: Http1Connection): void {
		this.#all.delete(connection);
		const at = this.#idle.lastIndexOf(connection);
		if (at !== -1) this.#idle.splice(at, 1);
		this.#connectForWaiters();
	}

	#refuse(waiter: Waiter, reason: Reason, detail: string): void {
		this.leave(waiter);
		waiter.onNoConnection(reason, detail);
	}

	/** As many attempts as there are waiters, within the maximum. */
	#connectForWaiters(): void {
		if (this.#retired) return;
		const { connectionsMax } = this.#options;
		while (this.#connecting < this.#waiters.size && this.#all.size < connectionsMax) {
			this.#connecting++;
			this.connects++;
			this.#all.add(new Http1Connection(this.#options, this, this.#wheel, this.#shared, this.#sessions));
			// While the application refuses, one attempt at a time is enough to see it come up.
			if (this.#refusal !== undefined) return;
		}
	}
}
