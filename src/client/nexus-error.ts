/** What Nexus, or whatever answers in its place, has refused, in words; also where nobody answers. */

export class NexusError extends Error {
	/** 0 where nobody answers. */
	readonly status: number;
	/** The reason of the problem document, "" for none. */
	readonly reason: string;
	/** What the answer asks to wait, in milliseconds; 0 where it asks for nothing. */
	readonly retryAfterMs: number;

	constructor(message: string, status: number, reason: string, retryAfterMs = 0, options: ErrorOptions = {}) {
		super(message, options);
		this.status = status;
		this.reason = reason;
		this.retryAfterMs = retryAfterMs;
	}

	/** Whether the very same may succeed later: nobody was there, or it was too much, or a fault of theirs. */
	get isTransient(): boolean {
		return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
	}
}

/** An RFC 9457 document as Nexus writes them. */
export interface ProblemDocument {
	readonly status?: number;
	readonly title?: string;
	readonly detail?: string;
	readonly reason?: string;
	readonly hint?: string;
}

export function problemWords({ status, title, detail, hint }: ProblemDocument): string {
	return [title ?? `status ${status}`, detail, hint].filter((part) => part !== undefined && part !== "").join(" ");
}

/** Reads an answer with a status of 300 or above. */
export async function errorOf(response: Response): Promise<NexusError> {
	const { status } = response;
	const seconds = Number(response.headers.get("retry-after") ?? 0);
	const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0;
	try {
		const problem = JSON.parse(await response.text()) as ProblemDocument;
		return new NexusError(problemWords({ status, ...problem }), status, problem.reason ?? "", retryAfterMs);
	} catch {
		return new NexusError(`status ${status} from something that is not Nexus`, status, "", retryAfterMs);
	}
}
