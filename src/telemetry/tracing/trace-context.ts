/** The `traceparent` field (W3C Trace Context, level 1 and 2): read strictly, written as version 00. */

export interface TraceParent {
	/** 32 lower-case hexadecimal digits, not all 0. */
	readonly traceId: string;
	/** 16 of them, not all 0: the span that calls. */
	readonly spanId: string;
	readonly sampled: boolean;
	/** Level 2: the right half of the trace id was made at random. */
	readonly random: boolean;
}

// 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
const LENGTH = 55;
const TRACE_ID_AT = 3;
const SPAN_ID_AT = 36;
const FLAGS_AT = 53;
const SAMPLED = 1;
const RANDOM = 2;
const DASH = 0x2d;
const ZERO = 0x30;

/** Undefined for what is none: by section 2.2.2 such a request begins a trace of its own. */
export function parseTraceparent(text: string): TraceParent | undefined {
	if (text.length < LENGTH || !isWellFormed(text)) return undefined;
	const flags = Number.parseInt(text.slice(FLAGS_AT, LENGTH), 16);
	return {
		traceId: text.slice(TRACE_ID_AT, SPAN_ID_AT - 1),
		spanId: text.slice(SPAN_ID_AT, FLAGS_AT - 1),
		sampled: (flags & SAMPLED) !== 0,
		random: (flags & RANDOM) !== 0,
	};
}

/** Of a span that is recorded. Of the flags only those with a meaning go on (section 3.2.2.5). */
export function sampledTraceparent(traceId: string, spanId: string, random: boolean): string {
	return `00-${traceId}-${spanId}-${random ? "03" : "01"}`;
}

/** Version 00 ends after the flags; later ones may go on behind a dash. Version ff is forbidden. */
function isWellFormed(text: string): boolean {
	if (!isHex(text, 0, 2) || text.startsWith("ff")) return false;
	if (text.length > LENGTH && (text.startsWith("00") || text.charCodeAt(LENGTH) !== DASH)) return false;
	return (
		text.charCodeAt(TRACE_ID_AT - 1) === DASH &&
		isHex(text, TRACE_ID_AT, SPAN_ID_AT - 1) &&
		!isZero(text, TRACE_ID_AT, SPAN_ID_AT - 1) &&
		text.charCodeAt(SPAN_ID_AT - 1) === DASH &&
		isHex(text, SPAN_ID_AT, FLAGS_AT - 1) &&
		!isZero(text, SPAN_ID_AT, FLAGS_AT - 1) &&
		text.charCodeAt(FLAGS_AT - 1) === DASH &&
		isHex(text, FLAGS_AT, LENGTH)
	);
}

function isHex(text: string, from: number, to: number): boolean {
	for (let i = from; i < to; i++) {
		const c = text.charCodeAt(i);
		if ((c < ZERO || c > 0x39) && (c < 0x61 || c > 0x66)) return false;
	}
	return true;
}

function isZero(text: string, from: number, to: number): boolean {
	for (let i = from; i < to; i++) if (text.charCodeAt(i) !== ZERO) return false;
	return true;
}
