/** What may stand between the listener of a local API and its connections. The types alone: what speaks TLS is loaded only by who serves it. */
import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { DeadlineWheel } from "../core/deadline-wheel.ts";
import type { ByteReader } from "../net/byte-socket.ts";
import type { LoopMemory } from "../net/loop-memory.ts";
import type { Caller } from "./caller.ts";

/** A connection on which HTTP may begin. */
export interface FrontStream {
	readonly socket: Socket;
	readonly caller: Caller;
	/** Once, at once. */
	readonly readTo: (reader: ByteReader) => void;
}

/** The server's side. */
export interface FrontContext {
	readonly wheel: DeadlineWheel;
	readonly shared: LoopMemory;
	readonly clock: Clock;
	readonly onReady: (stream: FrontStream) => void;
	/** A connection that never became ready is closed; once for each. */
	readonly onGone: () => void;
}

export interface Front {
	/** `accepted`: paused, and nothing read from it. */
	accept(accepted: Socket): void;
	/** Ends what is not ready yet. */
	destroy(): void;
}

export type StartFront = (context: FrontContext) => Front;
