/**
 * Bounds what handshakes may take from everyone else: how many are under way, how many wait for that, and how many begin in one turn of the
 * event loop. A full handshake costs about 0.3 ms of CPU, twenty times a request, and anybody may ask for one.
 */
import type { Clock } from "../core/clock.ts";

export interface HandshakeLimits {
	/** Under way at once; each holds about 60 KB. */
	readonly underWayMax: number;
	/** Further ones that wait to begin. */
	readonly waitingMax: number;
	/** Begun per turn of the loop: 16 take about 5 ms, which is what everybody else may have to wait. */
	readonly beginsPerTurn: number;
	/** One that has been under way for longer makes room for another when all places are taken: the honest need a few round trips. */
	readonly graceMs: number;
}

export const HANDSHAKE_LIMITS: HandshakeLimits = Object.freeze({ underWayMax: 512, waitingMax: 2048, beginsPerTurn: 16, graceMs: 1000 });

export interface Handshake {
	begin(): void;
	/** No room: before it has begun, or because it has taken too long. Nothing of it may go on, and it need not `leave`. */
	giveUp(): void;
}

export interface HandshakeStats {
	readonly underWay: number;
	readonly waiting: number;
	readonly begun: number;
	readonly givenUp: number;
}

export class Handshakes {
	readonly #limits: HandshakeLimits;
	readonly #clock: Clock;
	/** With the time of their beginning, the oldest first. */
	readonly #underWay = new Map<Handshake, number>();
	/** In order of arrival. */
	readonly #waiting = new Set<Handshake>();
	#begunThisTurn = 0;
	#nextTurn: NodeJS.Immediate | undefined;
	#begun = 0;
	#givenUp = 0;

	constructor(clock: Clock, limits: HandshakeLimits = HANDSHAKE_LIMITS) {
		this.#clock = clock;
		this.#limits = limits;
	}

	get stats(): HandshakeStats {
		return { underWay: this.#underWay.size, waiting: this.#waiting.size, begun: this.#begun, givenUp: this.#givenUp };
	}

	/** Begins it now, or in a later turn, or gives it up. */
	enter(handshake: Handshake): void {
		if (this.#waiting.size === 0 && this.#begunThisTurn < this.#limits.beginsPerTurn && this.#hasRoom()) this.#begin(handshake);
		else if (this.#waiting.size < this.#limits.waitingMax) {
			this.#waiting.add(handshake);
			this.#expectTurn();
		} else this.#giveUp(handshake);
	}

	/** It is done, or has failed by itself. Idempotent. */
	leave(handshake: Handshake): void {
		this.#waiting.delete(handshake);
		if (this.#underWay.delete(handshake) && this.#waiting.size > 0) this.#expectTurn();
	}

	#begin(handshake: Handshake): void {
		this.#underWay.set(handshake, this.#clock.monotonicMs());
		this.#begun++;
		this.#begunThisTurn++;
		this.#expectTurn();
		handshake.begin();
	}

	#expectTurn(): void {
		this.#nextTurn ??= setImmediate(() => this.#turn());
	}

	#turn(): void {
		this.#nextTurn = undefined;
		this.#begunThisTurn = 0;
		for (const handshake of this.#waiting) {
			if (this.#begunThisTurn >= this.#limits.beginsPerTurn || !this.#hasRoom()) break;
			this.#waiting.delete(handshake);
			this.#begin(handshake);
		}
	}

	/** Makes it where all places are taken and the oldest one has had its time. */
	#hasRoom(): boolean {
		if (this.#underWay.size < this.#limits.underWayMax) return true;
		for (const [oldest, begunMs] of this.#underWay) {
			if (this.#clock.monotonicMs() - begunMs < this.#limits.graceMs) return false;
			this.#underWay.delete(oldest);
			this.#giveUp(oldest);
			return true;
		}
		return false;
	}

	#giveUp(handshake: Handshake): void {
		this.#givenUp++;
		handshake.giveUp();
	}
}
