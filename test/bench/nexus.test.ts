/** The bench of Nexus: its command line, its messages, what it recognises in streams of bytes, and its report. Never its timings. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { withSection } from "../../bench/docs.ts";
import { parseNexusOptions } from "../../bench/nexus/options.ts";
import { outcomeOf, type Verdict } from "../../bench/nexus/part.ts";
import { EVENT_BYTES, Message, NumberScanner } from "../../bench/nexus/publish-events.ts";
import { circumstances, type MeasuredPart, markdownSection, serialize, withParts } from "../../bench/nexus/report.ts";
import { TextFrames, textFrame } from "../../bench/nexus/web-socket.ts";
import { parseAll, shareOfOthers } from "../../bench/others.ts";

function optionsOf(...argv: string[]) {
	const parsed = parseNexusOptions(argv);
	assert.ok(parsed.kind === "run", JSON.stringify(parsed));
	return parsed.options;
}

test("without options everything but the soak runs, at the size of the budgets", () => {
	const options = optionsOf();
	assert.deepEqual(options.parts, ["publish", "end-to-end", "replay", "followers", "start", "index", "engines"]);
	assert.deepEqual([options.rate, options.followers, options.startEvents, options.minutes], [10_000, 10_000, 10_000_000, 10]);
	assert.ok(options.only.includes("kafka"));
});

test("a quick run is small, and single options still win", () => {
	const options = optionsOf("--quick", "--followers", "7", "--parts", "soak");
	assert.deepEqual([options.seconds, options.rounds, options.followers, options.minutes], [1, 1, 7, 1]);
	assert.deepEqual(options.parts, ["soak"]);
});

test("figures of a quick run are not published, and unknown names are told with the known ones", () => {
	for (const argv of [["--quick", "--docs"], ["--only", "rediss"], ["--parts", "all"], ["--rounds", "0"], ["--nope"]]) {
		assert.equal(parseNexusOptions(argv).kind, "wrong", argv.join(" "));
	}
	const parsed = parseNexusOptions(["--only", "rediss"]);
	assert.match(parsed.kind === "wrong" ? parsed.message : "", /redis always/);
});

test("every event of a message has 500 bytes, is JSON, and has an id that no other has", () => {
	const message = new Message(3, true, (json) => json);
	const events = [message.next(), message.next()].flatMap((bytes) => JSON.parse(bytes.toString()) as { id: string }[]);
	assert.equal(new Set(events.map(({ id }) => id)).size, 6);
	for (const event of events) {
		assert.equal(JSON.stringify(event).length, EVENT_BYTES);
		assert.match(event.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-\d{12}$/);
	}
});

test("events are recognised by their numbers wherever the bytes are cut", () => {
	const message = new Message(1, false, (json) => json);
	const stream = Buffer.concat([0, 1, 2].map(() => Buffer.concat([Buffer.from("id: 7\ndata: "), message.next(), Buffer.from("\n\n")])));
	for (const size of [1, 7, 41, 500, stream.length]) {
		const found: number[] = [];
		const scanner = new NumberScanner((number) => found.push(number));
		for (let at = 0; at < stream.length; at += size) {
			// The bytes are the socket's again afterwards.
			const chunk = Buffer.from(stream.subarray(at, at + size));
			scanner.push(chunk);
			chunk.fill(0);
		}
		assert.deepEqual(found, [0, 1, 2], `in pieces of ${size}`);
	}
});

test("text frames of each form of length are read, whole and in pieces; what is no text is told", () => {
	const texts = ["", "short", "x".repeat(200), "y".repeat(70_000)];
	const stream = Buffer.concat(texts.map(serverFrame));
	for (const size of [1, 3, 1000, stream.length]) {
		const frames = new TextFrames();
		const found: string[] = [];
		for (let at = 0; at < stream.length; at += size) for (const text of frames.push(stream.subarray(at, at + size))) found.push(text.toString());
		assert.deepEqual(found, texts, `in pieces of ${size}`);
	}
	assert.throws(() => [...new TextFrames().push(Buffer.from([0x88, 0]))], /not a text frame/);
});

test("a client's frame is masked, and as long as it says", () => {
	const short = textFrame(Buffer.from("hi"));
	assert.deepEqual([...short], [0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
	const long = textFrame(Buffer.alloc(300));
	assert.deepEqual([long[1], long.readUInt16BE(2), long.length], [0xfe, 300, 308]);
	assert.throws(() => textFrame(Buffer.alloc(70_000)));
});

test("a budget is met, met with its stretch, missed, or not measured", () => {
	const atLeast = (value: number): Verdict => ({ what: "", budget: { least: 10, stretch: 20, unit: "/s" }, value });
	assert.deepEqual([9, 10, 20, Number.NaN].map(atLeast).map(outcomeOf), ["missed", "met", "met, stretch too", "not measured"]);
	const atMost = (value: number): Verdict => ({ what: "", budget: { most: 10, unit: "ms" }, value });
	assert.deepEqual([10, 11].map(atMost).map(outcomeOf), ["met", "missed"]);
});

test("what others take is what is left of the machine's time, never less than nothing", () => {
	assert.equal(parseAll("cpu  100 10 50 1000 5 0 7 3 0 0\ncpu0 1 1 1 1\n"), 1_630_000);
	assert.throws(() => parseAll("intr 1\n"));
	const before = { atMs: 0, ownUs: 0, allUs: 0 };
	assert.equal(shareOfOthers(before, { atMs: 1000, ownUs: 500_000, allUs: 1_000_000 }, 2), 0.25);
	assert.equal(shareOfOthers(before, { atMs: 1000, ownUs: 500_000, allUs: 490_000 }, 2), 0);
});

const PART: MeasuredPart = {
	date: "2026-01-02T03:04:05.678Z",
	machine: { cpu: "a CPU", cores: 2, kernel: "6.1", node: "v26.0.0", loadAverage: 0.25 },
	contestants: ["nexus on Node v26.0.0", "redis always 7.0.15"],
	others: 0.01,
	turns: "2 x 4 s each in turns",
	tables: [{ title: "Publish: one by one", columns: ["", "events/s"], rows: [["nexus", "2,100"]], notes: [] }],
	verdicts: [{ what: "publish, one by one", budget: { least: 2_000, unit: "/s" }, value: 2_100 }],
	figures: [],
};

test("a run of one part replaces that part and keeps the others, each with its own hour", () => {
	const verdicts = [{ what: "start after SIGKILL", budget: { most: 1, unit: "s" as const }, value: Number.NaN }];
	const start: MeasuredPart = { ...PART, date: "2026-01-01T00:00:00.000Z", tables: [], verdicts, others: 0.4, turns: "once" };
	const kept = serialize(withParts(serialize(withParts("", { start, publish: PART })), { publish: { ...PART, turns: "9 x 9 s" } }));
	const text = markdownSection(withParts(kept, {}));
	assert.match(text, /^- a CPU, 2 cores, Linux 6\.1, Node v26\.0\.0\n- contestants: nexus on Node v26\.0\.0, redis always 7\.0\.15\n/);
	assert.match(text, /\| publish, one by one \| 2,100\/s \| >= 2,000\/s \| {2}\| met \|/);
	assert.match(text, /\| start after SIGKILL \| - s \| <= 1\.00 s \| {2}\| NOT MEASURED \|/);
	assert.match(text, /\*2026-01-02 03:04 UTC, 9 x 9 s; load average 0\.25 at the start, others took 1 % of the CPU time meanwhile\*/);
	assert.match(circumstances(start), /others took 40 % .*busy/);
	assert.throws(() => withParts('{"format":2}', {}), /format 2/);
	// It fits between the marks of a page, and can be put there again.
	const page = "a\n<!-- results: begin (written by `npm run bench -- --docs`) -->\n<!-- results: end -->\nb\n";
	const once = withSection(page, text);
	assert.equal(withSection(once, text), once);
});

function serverFrame(text: string): Buffer {
	const body = Buffer.from(text);
	if (body.length < 126) return Buffer.concat([Buffer.from([0x81, body.length]), body]);
	const head = Buffer.alloc(body.length < 0x10000 ? 4 : 10);
	head[0] = 0x81;
	head[1] = body.length < 0x10000 ? 126 : 127;
	if (body.length < 0x10000) head.writeUInt16BE(body.length, 2);
	else head.writeBigUInt64BE(BigInt(body.length), 2);
	return Buffer.concat([head, body]);
}
