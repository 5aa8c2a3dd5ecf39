/** What an instance of the service is started with and told while it runs. */

export const HEALTH_PATH = "/healthz";
export const CONTROL_PATH = "/control";
/** What the clients ask for. */
export const WORK_PATH = "/work";

export interface ServiceOptions {
	readonly port: number;
	/** Mean time until an answer. */
	readonly latencyMs: number;
	readonly bodyBytes: number;
	readonly seed: number;
}

/** How an instance behaves. */
export interface Manner {
	readonly latencyFactor: number;
	/** 0..1 of the answers are a 503. */
	readonly failureRate: number;
}

/** The query of the control path; what is not said is as usual. Throws for a value that makes no sense. */
export function parseManner(query: Readonly<Record<string, string>>): Manner {
	const manner = { latencyFactor: Number(query.latencyFactor ?? 1), failureRate: Number(query.failureRate ?? 0) };
	if (!(manner.latencyFactor > 0)) throw new RangeError(`latencyFactor is above 0, not ${JSON.stringify(query.latencyFactor)}`);
	if (!(manner.failureRate >= 0 && manner.failureRate <= 1)) throw new RangeError(`failureRate is 0..1, not ${JSON.stringify(query.failureRate)}`);
	return manner;
}

export function controlPath({ latencyFactor, failureRate }: Manner): string {
	return `${CONTROL_PATH}?latencyFactor=${latencyFactor}&failureRate=${failureRate}`;
}
