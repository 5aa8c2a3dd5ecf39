/**
 * The accepting end of TLS: from a connection that the listener has accepted to a stream of bytes whose peer is known, or to the reason why
 * there is none. Who is let in, a callback decides; here are bytes, time, order and bounds.
 */
import type { Socket } from "node:net";
import type { DeadlineWheel } from "../core/deadline-wheel.ts";
import type { LoopMemory } from "./loop-memory.ts";
import type { ReadyStream } from "./ready-stream.ts";
import type { SecureContexts } from "./secure-contexts.ts";
import { Arrival, type ArrivalOwner, type FailedPeer, type TlsAcceptOptions, type TlsMode } from "./tls-arrival.ts";
import type { TlsFailure } from "./tls-cause.ts";
import type { Handshakes } from "./tls-handshakes.ts";
import { alpnList, type Refused, type Verified } from "./tls-peer.ts";

export interface TlsAcceptStats {
	readonly tls: number;
	/** Of these, on an earlier session. */
	readonly resumed: number;
	readonly plaintext: number;
	readonly failed: number;
}

export class TlsAcceptor<V extends Verified, R extends Refused> implements ArrivalOwner<V, R> {
	/** Both may change, and hold for whoever has not begun its handshake by then; connections that are open keep what they met. */
	mode: TlsMode;
	contexts: SecureContexts;
	readonly options: TlsAcceptOptions<V, R>;
	readonly alpn: Buffer;
	readonly wheel: DeadlineWheel;
	readonly shared: LoopMemory;
	readonly handshakes: Handshakes;
	readonly #open = new Set<Arrival<V, R>>();
	#tls = 0;
	#resumed = 0;
	#plaintext = 0;
	#failed = 0;

	constructor(mode: TlsMode, options: TlsAcceptOptions<V, R>, wheel: DeadlineWheel, shared: LoopMemory, handshakes: Handshakes) {
		this.mode = mode;
		this.contexts = options.contexts;
		this.options = options;
		this.alpn = alpnList(options.alpn);
		this.wheel = wheel;
		this.shared = shared;
		this.handshakes = handshakes;
	}

	get stats(): TlsAcceptStats {
		return { tls: this.#tls, resumed: this.#resumed, plaintext: this.#plaintext, failed: this.#failed };
	}

	/** `accepted`: paused, and nothing read from it. */
	accept(accepted: Socket): void {
		const arrival = new Arrival(accepted, this);
		this.#open.add(arrival);
		arrival.sniff();
	}

	/** Ends what is not ready yet; streams that are belong to others. */
	destroy(): void {
		for (const arrival of this.#open) arrival.destroy();
	}

	// --- the arrival's side

	ready(arrival: Arrival<V, R>, stream: ReadyStream<V>, resumed: boolean): void {
		this.#open.delete(arrival);
		if (stream.peer === undefined) this.#plaintext++;
		else this.#tls++;
		if (resumed) this.#resumed++;
		this.options.onReady(stream, resumed);
	}

	failed(failure: TlsFailure | R, peer: FailedPeer): void {
		this.#failed++;
		this.options.onFailed(failure, peer);
	}

	gone(arrival: Arrival<V, R>): void {
		if (this.#open.delete(arrival)) this.options.onGone();
	}
}
