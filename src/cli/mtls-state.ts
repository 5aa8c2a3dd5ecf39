/** How a sidecar is encrypted, as `GET /identity` of its admin API tells it; and what follows from that for `strict`. */
import { z } from "zod";
import { messageOf } from "../core/errors.ts";
import { roughly } from "../identity/tls-refusal.ts";

const TIME = z.iso.datetime();

const CONNECTIONS = z.looseObject({ full: z.number(), resumed: z.number(), plaintext: z.number(), failed: z.number() });

const STATE = z.looseObject({
	service: z.string(),
	now: TIME,
	since: TIME.nullable(),
	identity: z
		.looseObject({
			identity: z.string(),
			source: z.string(),
			state: z.enum(["waiting", "valid", "expired"]),
			certificate: z.looseObject({ serial: z.string(), notAfter: TIME }).optional(),
			lastError: z.looseObject({ reason: z.string(), words: z.string() }).optional(),
		})
		.nullable(),
	inbound: z
		.looseObject({
			tls: z.enum(["strict", "permissive", "off"]),
			connections: CONNECTIONS,
			plaintext: z.looseObject({
				watchedSince: TIME,
				open: z.number(),
				last: TIME.nullable(),
				callers: z.array(z.looseObject({ address: z.string(), count: z.number(), first: TIME, last: TIME })),
			}),
		})
		.nullable(),
	upstreams: z.array(z.looseObject({ name: z.string(), tls: z.enum(["mesh", "external", "off"]), connections: CONNECTIONS })),
	failures: z.array(
		z.looseObject({
			kind: z.enum(["connection", "cut"]),
			name: z.string(),
			reason: z.string(),
			words: z.string(),
			hint: z.string(),
			peer: z.string(),
			address: z.string(),
			count: z.number(),
			last: TIME,
		}),
	),
});

export type MtlsState = z.infer<typeof STATE>;
export type MtlsFailure = MtlsState["failures"][number];

/** A string says why it could not be had. */
export type MtlsAnswer = MtlsState | string;

// A sidecar next door answers at once; one that does not is not asked longer than a person waits.
const TIMEOUT_MS = 5_000;
/** Callers that come once in an hour are common (jobs, exporters); those of a night are for a person to think of. */
const QUIET_MS = 3_600_000;

/** From the admin API at `url`, as in `http://127.0.0.1:15000`. */
export async function fetchMtlsState(url: string): Promise<MtlsAnswer> {
	const base = URL.parse(url);
	if (base === null || !/^https?:$/.test(base.protocol)) return "it is not an http URL, as in http://127.0.0.1:15000";
	try {
		const response = await fetch(new URL("/identity", base), { signal: AbortSignal.timeout(TIMEOUT_MS) });
		if (response.status === 404) return "it has no /identity: this is not the admin address of a sidecar, or its version is older";
		if (!response.ok) return `GET /identity gives status ${response.status}`;
		const parsed = STATE.safeParse(await response.json());
		if (parsed.success) return parsed.data;
		const [issue] = parsed.error.issues;
		return `it is not the answer of a sidecar: ${issue?.path.join(".")}: ${issue?.message}`;
	} catch (thrown) {
		if (thrown instanceof SyntaxError) return "its answer is not JSON: this is not the admin address of a sidecar";
		const cause = thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown;
		return `it does not answer: ${messageOf(cause)}`;
	}
}

/** on: it is strict · safe: it may become so · not_yet: that would turn callers away · unknown: it was not watched for long enough · off */
export interface StrictVerdict {
	readonly verdict: "on" | "safe" | "not_yet" | "unknown" | "off";
	/** One sentence without its full stop. */
	readonly why: string;
}

/** Undefined where nobody may call. */
export function judgeStrict({ now, inbound }: MtlsState): StrictVerdict | undefined {
	if (inbound === null) return undefined;
	const { tls, connections, plaintext } = inbound;
	const left = plaintext.open === 1 ? "1 connection in plain text is open" : `${plaintext.open} connections in plain text are open`;
	if (tls === "off") return { verdict: "off", why: "callers come in plain text, and are not counted" };
	if (tls === "strict") return { verdict: "on", why: plaintext.open === 0 ? "only callers with a certificate are let in" : `${left} from before` };
	if (plaintext.open > 0) return { verdict: "not_yet", why: left };
	const nowMs = Date.parse(now);
	const quietMs = nowMs - Math.max(Date.parse(plaintext.watchedSince), plaintext.last === null ? 0 : Date.parse(plaintext.last));
	if (plaintext.last !== null && quietMs < QUIET_MS && Date.parse(plaintext.last) >= Date.parse(plaintext.watchedSince)) {
		return { verdict: "not_yet", why: `the last caller in plain text came ${roughly(quietMs)} ago` };
	}
	if (connections.full + connections.resumed === 0) return { verdict: "unknown", why: "nobody has called over TLS yet" };
	const quiet = `no caller in plain text for ${roughly(quietMs)}`;
	return quietMs < QUIET_MS ? { verdict: "unknown", why: `${quiet}; look again after ${roughly(QUIET_MS)}` } : { verdict: "safe", why: quiet };
}
