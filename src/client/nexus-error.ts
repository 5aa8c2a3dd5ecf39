/** What Nexus, or whatever answers in its place, has refused, in words; also where nobody answers. */
import { boundedText } from "./bounded-text.ts";

/** An RFC 9457 document as Nexus writes them. */
export interface ProblemDocument {
	readonly status?: number;
	readonly title?: string;
	readonly detail?: string;
	readonly reason?: string;
	readonly hint?: string;
	/** What is wrong with a subscription, a schema or a policy, each with its place. */
	readonly faults?: readonly ProblemFault[];
}

export interface ProblemFault {
	/** As in `delivery.backoff[0]`; empty for the whole. */
	readonly path: string;
	readonly message: string;
	/** Of a policy: where in its text. */
	readonly place?: string;
	readonly line?: number;
	readonly column?: number;
	readonly width?: number;
	readonly hint?: string;
}

export interface NexusErrorDetails extends ErrorOptions {
	readonly retryAfterMs?: number;
	readonly problem?: ProblemDocument;
}

/** A problem document with the faults of a large policy; whatever is longer is none. */
const PROBLEM_BYTES_MAX = 1024 * 1024;
/** Nobody who means it asks for longer. */
const RETRY_AFTER_MS_MAX = 60_000;

export class NexusError extends Error {
	/** 0 where nobody answers. */
	readonly status: number;
	/** The reason of the problem document, as in `precondition_failed`; "" for none. */
	readonly reason: string;
	/** What to do about it, in words, which the message has as well; "" for nothing known. */
	readonly hint: string;
	/** What the answer asks to wait, in milliseconds, a minute at most; 0 where it asks for nothing. */
	readonly retryAfterMs: number;
	/** All that the answer says; empty where it is not of Nexus. */
	readonly problem: ProblemDocument;

	constructor(message: string, status: number, reason: string, { retryAfterMs = 0, problem = {}, ...options }: NexusErrorDetails = {}) {
		super(message, options);
		this.name = "NexusError";
		this.status = status;
		this.reason = reason;
		this.hint = problem.hint ?? "";
		this.retryAfterMs = retryAfterMs;
		this.problem = problem;
	}

	/** Whether the very same may succeed later: nobody was there, or it was too much, or a fault of theirs. */
	get isTransient(): boolean {
		return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
	}
}

export function errorOfProblem(problem: ProblemDocument, retryAfterMs = 0): NexusError {
	return new NexusError(problemWords(problem), problem.status ?? 0, problem.reason ?? "", { retryAfterMs, problem });
}

/** Reads an answer with a status of 300 or above. */
export async function errorOf(response: Response): Promise<NexusError> {
	const { status } = response;
	const seconds = Number(response.headers.get("retry-after") ?? 0);
	const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, RETRY_AFTER_MS_MAX) : 0;
	try {
		const text = await boundedText(response, PROBLEM_BYTES_MAX);
		return errorOfProblem({ ...(JSON.parse(text ?? "") as ProblemDocument), status }, retryAfterMs);
	} catch {
		return new NexusError(`status ${status} from something that is not Nexus`, status, "", { retryAfterMs });
	}
}

function problemWords({ status, title, detail, hint }: ProblemDocument): string {
	return [title ?? `status ${status}`, detail, hint].filter((part) => part !== undefined && part !== "").join(" ");
}
