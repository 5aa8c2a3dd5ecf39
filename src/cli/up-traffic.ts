/** A little steady load from outside the mesh. Open loop: a slow answer does not make the next request wait. */
import { Agent, get } from "node:http";
import type { Clock, Timer } from "../core/clock.ts";

// Answers that hang must not pile up; beyond this the load pauses, which the live line shows.
const IN_FLIGHT_MAX = 200;

export interface SteadyTraffic {
	/** Gets no answer at all: nobody listens there, or the connection broke. */
	readonly unanswered: number;
	stop(): void;
}

export function startTraffic(url: string, requestsPerSecond: number, clock: Clock): SteadyTraffic {
	const agent = new Agent({ keepAlive: true });
	let timer: Timer | undefined;
	let inFlight = 0;
	let unanswered = 0;
	const send = (): void => {
		if (inFlight >= IN_FLIGHT_MAX) return;
		inFlight++;
		const request = get(url, { agent }, (response) => response.resume());
		request.on("error", () => unanswered++);
		request.once("close", () => inFlight--);
	};
	const startedMs = clock.monotonicMs();
	let sent = 0;
	const next = (): void => {
		send();
		sent++;
		// By the plan and not by the last one, so that the rate holds whatever a timer is late by.
		timer = clock.setTimer(Math.max(0, startedMs + (sent * 1000) / requestsPerSecond - clock.monotonicMs()), next);
	};
	if (requestsPerSecond > 0) next();
	return {
		get unanswered() {
			return unanswered;
		},
		stop() {
			timer?.cancel();
			agent.destroy();
		},
	};
}
