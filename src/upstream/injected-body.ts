/** An answer's body as an injected fault lets it through: slowly, or only its beginning. */
import type { Clock, Timer } from "../core/clock.ts";
import { BodyDecoder } from "../http1/body-decoder.ts";
import type { Injection } from "../resilience/fault/fault-injector.ts";

/** Pieces of a slow body follow each other at this distance: smooth enough to be a slow line, not a stuttering one. */
const PIECE_MS = 50;

export interface InjectedBodyObserver {
	/** A piece of the body, as `onBody` of an attempt. */
	onPiece(body: BodyDecoder, buffer: Buffer): void;
	/** All that was held back has passed; more may be read. */
	onDrained(): void;
	/** The fault ends the body here. */
	onCut(fault: string, bytes: number): void;
}

export class InjectedBody {
	readonly #observer: InjectedBodyObserver;
	readonly #clock: Clock;
	readonly #fault: string;
	readonly #pieceBytes: number;
	#leftBytes: number;
	#passed = 0;
	/** What is held back, and whether it is the end. */
	#held: Buffer[] = [];
	#done = false;
	#cut = false;
	#trailers = "";
	#timer: Timer | undefined;
	readonly #piece = new BodyDecoder();

	constructor({ fault, bytesPerSecond, truncateAfterBytes }: Injection, clock: Clock, observer: InjectedBodyObserver) {
		this.#fault = fault.name;
		this.#clock = clock;
		this.#observer = observer;
		this.#pieceBytes = bytesPerSecond === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor((bytesPerSecond * PIECE_MS) / 1000));
		this.#leftBytes = truncateAfterBytes ?? Number.POSITIVE_INFINITY;
	}

	/** Takes what has been read out of `body`: nothing of it is left to be passed on, and its end is still to come. */
	take(body: BodyDecoder, buffer: Buffer): void {
		const end = Math.min(body.dataEnd, body.dataStart + this.#leftBytes);
		this.#cut = end < body.dataEnd || (this.#leftBytes === 0 && !body.done);
		this.#leftBytes -= end - body.dataStart;
		if (end > body.dataStart) this.#held.push(Buffer.from(buffer.subarray(body.dataStart, end)));
		this.#done = body.done && !this.#cut;
		this.#trailers = body.trailers;
		body.dataEnd = body.dataStart;
		body.done = false;
	}

	/** Begins to pass on what it holds; the head has gone before. */
	pass(): void {
		if (this.#timer === undefined) this.#next();
	}

	stop(): void {
		this.#timer?.cancel();
		this.#timer = undefined;
		this.#held = [];
	}

	#next(): void {
		const [first] = this.#held;
		const length = Math.min(first?.length ?? 0, this.#pieceBytes);
		if (first !== undefined) {
			if (length === first.length) this.#held.shift();
			else this.#held[0] = first.subarray(length);
		}
		const last = this.#held.length === 0;
		const piece = this.#piece;
		piece.dataStart = 0;
		piece.dataEnd = length;
		piece.done = last && this.#done;
		piece.trailers = this.#trailers;
		this.#passed += length;
		if (!last || this.#pieceBytes !== Number.POSITIVE_INFINITY) {
			this.#timer = this.#clock.setTimer(PIECE_MS, () => {
				this.#timer = undefined;
				if (this.#held.length > 0) this.#next();
				else this.#drained();
			});
		}
		if (length > 0 || piece.done) this.#observer.onPiece(piece, first ?? NOTHING);
		if (this.#timer === undefined && last && !piece.done) this.#drained();
	}

	#drained(): void {
		if (this.#cut) this.#observer.onCut(this.#fault, this.#passed);
		else if (!this.#done) this.#observer.onDrained();
	}
}

const NOTHING = Buffer.alloc(0);
