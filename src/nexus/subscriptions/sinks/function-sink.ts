/** A function that Nexus was started with, on its own loop or in threads beside it. */
import type { Clock } from "../../../core/clock.ts";
import type { Sink } from "../delivery.ts";
import type { DeliveryPolicy } from "../delivery-policy.ts";
import { FunctionThreads } from "./function-threads.ts";
import { type EventHandler, InProcess } from "./in-process.ts";

/** A module is for handlers that compute: they run in threads, and a thread that hangs is ended and replaced. */
export type FunctionRegistration =
	| EventHandler
	| {
			/** Its URL. */
			readonly module: string;
			/** Name of the exported handler. Default `handler`. */
			readonly export?: string;
			/** Default 2. */
			readonly threads?: number;
			/** How long one event may take, however often its lease is renewed meanwhile. Default: ackWait. */
			readonly timeoutMs?: number;
	  };

export function functionSink(registration: FunctionRegistration, policy: DeliveryPolicy, clock: Clock): Sink {
	return typeof registration === "function"
		? new InProcess(registration)
		: new FunctionThreads({ ...registration, ackWaitMs: policy.ackWaitMs, clock });
}
