/**
 * Deterministic fuzzer of the HTTP/1.1 codec: seeded mutations of a corpus through the relay, with properties that hold for every input.
 *
 *   node test/http1/fuzz.ts --runs 5000000 --seed 7
 *
 * A failure prints seed, run and input; the same seed finds it again.
 */
import { isDeepStrictEqual, parseArgs } from "node:util";
import { type Rng, seededRng } from "../../src/core/rng.ts";
import { type Author, readRequests, readResponses, type StrictMessage, type StrictReading } from "../support/strict-reader.ts";
import { type Corpus, loadCorpus } from "./fuzz-corpus.ts";
import { type Relayed, relayRequests, relayResponse } from "./sans-io-relay.ts";

export interface FuzzOptions {
	readonly runs: number;
	readonly seed: number;
	readonly corpus: Corpus;
	/** Called every 10,000 runs. */
	readonly onProgress?: (done: number) => void;
}

export interface FuzzOutcome {
	/** Inputs of which at least one message was relayed: a fuzzer whose inputs are all refused at once proves nothing. */
	readonly relayed: number;
	readonly refused: number;
	readonly failure: { readonly run: number; readonly property: string; readonly input: Buffer; readonly cuts: readonly number[] } | undefined;
}

/** What a relay may add to a message at most: ids, via, framing, a default host. */
const ADDED_BYTES_MAX = 400;
/** A chunk of one byte costs six; nothing multiplies more. */
const GROWTH_MAX = 6;
const INPUT_BYTES_MAX = 8192;
const PROGRESS_RUNS = 10_000;

/** One kind of stream: how it is relayed, and how a strict reader sees both sides of the relay. */
interface Side {
	readonly entries: readonly Buffer[];
	/** Those of which something is relayed: most mutations begin with one, as what is refused at its first byte stays so. */
	readonly good: readonly Buffer[];
	relay(reads: readonly Buffer[]): Relayed;
	seen(relayed: Relayed): StrictReading;
	sent(input: Buffer, author: Author): StrictReading;
}

/** Stops at the first input that breaks a property. */
export function fuzz(options: FuzzOptions): FuzzOutcome {
	const random = seededRng(options.seed);
	const sides = sidesOf(options.corpus);
	let relayed = 0;
	let refused = 0;
	for (let run = 0; run < options.runs; run++) {
		const side = pick(sides, random);
		const input = mutate(side, random);
		const cuts = cutsOf(input.length, random);
		let property: string | undefined;
		try {
			const whole = side.relay([input]);
			if (whole.complete > 0) relayed++;
			if (whole.ending === "refused") refused++;
			property = brokenProperty(side, input, cuts, whole);
		} catch (error: unknown) {
			property = `does not throw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
		}
		if (property !== undefined) return { relayed, refused, failure: { run, property, input, cuts } };
		if ((run + 1) % PROGRESS_RUNS === 0) options.onProgress?.(run + 1);
	}
	return { relayed, refused, failure: undefined };
}

function sidesOf(corpus: Corpus): readonly Side[] {
	const goodOf = (entries: readonly Buffer[], relay: Side["relay"]): Buffer[] => entries.filter((entry) => relay([entry]).complete > 0);
	const requests: Side = {
		entries: corpus.requests,
		good: goodOf(corpus.requests, relayRequests),
		relay: relayRequests,
		seen: (relayed) => readRequests(relayed.written),
		sent: readRequests,
	};
	const responses = (method: string): Side => ({
		entries: corpus.responses,
		good: goodOf(corpus.responses, (reads) => relayResponse(reads, method)),
		relay: (reads) => relayResponse(reads, method),
		seen: (relayed) => readResponses(relayed.written, [method], false),
		sent: (input, author) => readResponses(input, [method], true, author),
	});
	// Requests are where the attackers are.
	return [requests, requests, responses("GET"), responses("HEAD")];
}

/** The property that does not hold, or undefined. */
function brokenProperty(side: Side, input: Buffer, cuts: readonly number[], whole: Relayed): string | undefined {
	const seen = side.seen(whole);
	const finals = finalOnes(seen);
	if (seen.ending === "fault") return `what is relayed is well-formed: ${seen.fault}`;
	if (finals.length !== whole.complete) return `the other side sees the messages that were relayed: ${finals.length} of ${whole.complete}`;
	if (whole.written.length > GROWTH_MAX * input.length + ADDED_BYTES_MAX * (seen.messages.length + 1)) return "output is bounded by input";

	const split = side.relay(cut(input, cuts));
	const { complete, fault, ending, unread } = whole;
	if (
		!isDeepStrictEqual(
			{ complete, fault, ending, unread },
			{ complete: split.complete, fault: split.fault, ending: split.ending, unread: split.unread },
		)
	)
		return `the verdict does not depend on how bytes arrive: ${JSON.stringify([whole, split])}`;
	if (!isDeepStrictEqual(side.seen(split).messages, seen.messages)) return "the messages do not depend on how bytes arrive";

	const sent = finalOnes(side.sent(input, "sent"));
	for (const [i, message] of finals.entries()) {
		if (message.status === 205) continue; // RFC 9110 15.3.6: whatever the body was to be, it is dropped
		const original = sent[i];
		if (original === undefined) return `a strict reader of the input finds message ${i} as well`;
		if (!original.body.equals(message.body)) return `a strict reader of the input finds the same body in message ${i}`;
	}

	// parse(serialize(x)) = x: what we wrote is read again and written again, and says the same.
	const again = side.relay([whole.written]);
	if (again.ending === "refused") return `what is relayed can be relayed again: ${again.fault?.detail}`;
	const twice = finalOnes(side.seen(again));
	if (twice.length !== finals.length) return "what is relayed again has as many messages";
	for (const [i, message] of twice.entries())
		if (!isDeepStrictEqual(meaningOf(message), meaningOf(finals[i] as StrictMessage))) return `message ${i} says the same after a second relay`;
	return undefined;
}

function finalOnes(reading: StrictReading): StrictMessage[] {
	return reading.messages.filter((message) => message.status === 0 || message.status >= 200);
}

/** All but what each hop says for itself. */
function meaningOf(message: StrictMessage): unknown {
	const { method, target, status, body, trailers } = message;
	const fields = message.fields.filter(([name]) => !/^(?:via|transfer-encoding|connection|upgrade)$/i.test(name));
	return { method, target, status, body, trailers, fields };
}

/** What protocols trip over. */
const DICTIONARY: readonly Buffer[] = [
	"\r\n",
	"\r",
	"\n",
	"\r\n\r\n",
	"\0",
	" ",
	"\t",
	":",
	";",
	",",
	"\x7f",
	"\x80",
	"\xff",
	"\r\n ",
	"0\r\n\r\n",
	"1\r\nx\r\n",
	"ffffffffffffff\r\n",
	"Transfer-Encoding: chunked\r\n",
	"Transfer-Encoding: gzip, chunked\r\n",
	"Content-Length: 0\r\n",
	"Content-Length: 3\r\n",
	"Content-Length: +3\r\n",
	"Content_Length: 3\r\n",
	"Host: b\r\n",
	"Connection: close\r\n",
	"Connection: host, content-length, transfer-encoding, x-a\r\n",
	"Connection: upgrade\r\nUpgrade: x\r\n",
	"Keep-Alive: 1\r\n",
	"Expect: 100-continue\r\n",
	"X-A: 1\r\n",
	"GET / HTTP/1.1\r\nHost: c\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.0",
	"HTTP/2.0",
	"CONNECT a:1",
	"http://d/",
	"chunked",
	';ext=""',
].map((text) => Buffer.from(text, "latin1"));

function mutate(side: Side, random: Rng): Buffer {
	const { entries, good } = side;
	let input = pick(random() < 0.85 ? good : entries, random);
	for (let left = 1 + Math.floor(random() * random() * 6); left > 0; left--) input = mutateOnce(input, entries, random);
	return input.subarray(0, INPUT_BYTES_MAX);
}

function mutateOnce(input: Buffer, entries: readonly Buffer[], random: Rng): Buffer {
	const at = Math.floor(random() * (input.length + 1));
	const to = Math.min(input.length, at + 1 + Math.floor(random() * random() * 40));
	const before = input.subarray(0, at);
	switch (Math.floor(random() * 8)) {
		case 0: {
			const changed = Buffer.from(input);
			if (at < input.length) changed[at] = Math.floor(random() * 256);
			return changed;
		}
		case 1: {
			const changed = Buffer.from(input);
			if (at < input.length) changed[at] = (changed[at] as number) ^ (1 << Math.floor(random() * 8));
			return changed;
		}
		case 2:
			return Buffer.concat([before, input.subarray(to)]);
		case 3:
			return Buffer.concat([input.subarray(0, to), input.subarray(at)]);
		case 4:
			return Buffer.concat([before, pick(DICTIONARY, random), input.subarray(at)]);
		case 5:
			return Buffer.concat([before, pick(DICTIONARY, random), input.subarray(to)]);
		case 6: {
			const other = pick(entries, random);
			return Buffer.concat([before, other.subarray(Math.floor(random() * other.length))]);
		}
		default:
			return withLineMoved(input, random);
	}
}

/** One line taken out and put in elsewhere, or doubled: fields change places, start lines appear in the middle. */
function withLineMoved(input: Buffer, random: Rng): Buffer {
	const lines = input.toString("latin1").split("\r\n");
	const line = pick(lines, random);
	if (random() < 0.5) lines.splice(lines.indexOf(line), 1);
	lines.splice(Math.floor(random() * (lines.length + 1)), 0, line);
	return Buffer.from(lines.join("\r\n"), "latin1");
}

/** Where the reads end: everywhere, or at up to eight places. Ascending. */
function cutsOf(length: number, random: Rng): number[] {
	if (random() < 0.1) return Array.from({ length: Math.max(0, length - 1) }, (_, i) => i + 1);
	const cuts = Array.from({ length: 1 + Math.floor(random() * 8) }, () => Math.floor(random() * length));
	return [...new Set(cuts)].filter((at) => at > 0).sort((a, b) => a - b);
}

function cut(input: Buffer, cuts: readonly number[]): Buffer[] {
	const ends = [...cuts, input.length];
	return ends.map((end, i) => input.subarray(ends[i - 1] ?? 0, end));
}

function pick<T>(from: readonly T[], random: Rng): T {
	return from[Math.floor(random() * from.length)] as T;
}

function main(): void {
	const { values } = parseArgs({ options: { runs: { type: "string", default: "1000000" }, seed: { type: "string", default: "1" } } });
	const runs = Number(values.runs);
	const seed = Number(values.seed);
	if (!Number.isSafeInteger(runs) || runs < 1 || !Number.isSafeInteger(seed)) {
		process.stderr.write("usage: node test/http1/fuzz.ts [--runs N] [--seed S]   (whole numbers, N from 1)\n");
		process.exitCode = 2;
		return;
	}
	const corpus = loadCorpus(true);
	process.stdout.write(`${runs} runs from seed ${seed}, ${corpus.requests.length} requests and ${corpus.responses.length} responses to begin with\n`);
	const { relayed, refused, failure } = fuzz({ runs, seed, corpus, onProgress: (done) => void process.stdout.write(`\r${done}`) });
	if (failure === undefined) {
		process.stdout.write(`\rno property broken; ${relayed} inputs had a message that was relayed, ${refused} were refused\n`);
		return;
	}
	process.stdout.write(
		`\nrun ${failure.run} breaks: ${failure.property}\ncuts ${failure.cuts.join(" ")}\n${JSON.stringify(failure.input.toString("latin1"))}\n`,
	);
	process.exitCode = 1;
}

if (import.meta.main) main();
