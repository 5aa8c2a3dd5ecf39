/** The three content modes, judged by cases that others wrote and by our own. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { validateEvent } from "../../src/events/cloud-event.ts";
import { BATCH_EVENTS_MAX, BATCH_TYPE, type ParsedEvents, parseEvents, STRUCTURED_TYPE } from "../../src/events/http-binding.ts";

type Fields = Readonly<Record<string, string>>;

function parse(fields: Fields, body: Buffer): ParsedEvents {
	return parseEvents({ header: (name) => (Object.hasOwn(fields, name) ? fields[name] : undefined), headers: () => Object.entries(fields) }, body);
}

interface Case {
	id: string;
	headers: Record<string, string> | null;
	body: string;
	expect: "accept" | "reject" | "either";
	mode: "structured" | "binary" | "batch";
	attributes?: Record<string, string>;
}

const corpus = new URL("../../../shared/conformance/cloudevents.jsonl", import.meta.url);

/** `conformance-yaml-*` are templates: attributes and data to be put on the wire by the reader of the case. */
function onTheWire({ headers, mode, attributes, body }: Case): { headers: Fields; body: Buffer } {
	if (headers !== null) {
		return { headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])), body: Buffer.from(body) };
	}
	if (mode === "structured") {
		return { headers: { "content-type": STRUCTURED_TYPE }, body: Buffer.from(JSON.stringify({ ...attributes, data: JSON.parse(body) })) };
	}
	const encode = (value: string): string => value.replace(/[^\x21\x23\x24\x26-\x7e]/gu, encodeURIComponent);
	const fields = Object.entries(attributes ?? {}).map(([name, value]): [string, string] => [`ce-${name}`, encode(value)]);
	return { headers: { "content-type": "application/json", ...Object.fromEntries(fields) }, body: Buffer.from(body) };
}

test("every case of the public CloudEvents suites is judged as its label says", {
	skip: existsSync(corpus) ? false : "conformance data is absent",
}, () => {
	const cases = readFileSync(corpus, "utf8")
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line) as Case);
	assert.equal(cases.length, 53);
	for (const record of cases) {
		const { headers, body } = onTheWire(record);
		const parsed = parse(headers, body);
		const accepted = parsed.ok && parsed.members.every((member) => member.ok);
		if (record.expect !== "either") assert.equal(accepted ? "accept" : "reject", record.expect, `${record.id}: ${JSON.stringify(parsed)}`);
		if (!accepted) continue;
		for (const member of parsed.members) {
			assert.ok(member.ok);
			const stored = validateEvent(JSON.parse(parsed.bytes.toString("utf8", member.start, member.end)));
			assert.deepEqual(stored, { ok: true, event: member.event }, record.id);
			for (const [name, value] of Object.entries(record.attributes ?? {}))
				assert.equal((member.event as unknown as Record<string, unknown>)[name], value, record.id);
		}
	}
});

const event = '{"specversion":"1.0","id":"1","source":"/s","type":"t"}';
const binary = { "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t" };

function structured(body: string | Buffer, contentType = STRUCTURED_TYPE): ParsedEvents {
	return parse({ "content-type": contentType }, Buffer.from(body));
}

function status(parsed: ParsedEvents): number {
	return parsed.ok ? 200 : parsed.status;
}

test("bytes are kept as the sender wrote them", () => {
	const body = `[ ${event.replace(",", " , ")} ,${event}]`;
	const parsed = structured(body, BATCH_TYPE);
	assert.ok(parsed.ok);
	assert.equal(parsed.bytes.toString(), body);
	const [first] = parsed.members;
	assert.ok(first?.ok);
	assert.equal(body.slice(first.start, first.end), event.replace(",", " , "));
});

test("a wrong member of a batch does not spoil the others", () => {
	const big = `{"specversion":"1.0","id":"2","source":"/s","type":"t","data":"${"x".repeat(65_536)}"}`;
	const parsed = structured(`[${event},{"id":"x"},7,${big},${event}]`, BATCH_TYPE);
	assert.ok(parsed.ok);
	assert.deepEqual(
		parsed.members.map((member) => (member.ok ? "ok" : member.reason)),
		["ok", 'specversion must be "1.0"', "an event is a JSON object", "the event is larger than 65536 bytes", "ok"],
	);
});

test("bodies that are no JSON, no UTF-8, no array or too long are refused with the fitting status", () => {
	assert.equal(status(structured("{")), 400);
	assert.equal(status(structured(Buffer.from([0x22, 0xc0, 0xa0, 0x22]))), 400);
	assert.equal(status(structured(event, BATCH_TYPE)), 400);
	assert.equal(status(structured("[]", BATCH_TYPE)), 400);
	assert.equal(status(structured(`[${"0,".repeat(BATCH_EVENTS_MAX)}0]`, BATCH_TYPE)), 413);
	assert.equal(status(structured(`"${"x".repeat(65_536)}"`)), 413);
});

test("other formats, charsets and plain JSON are 415", () => {
	assert.equal(status(structured(event, "application/cloudevents+avro")), 415);
	assert.equal(status(structured(event, "application/cloudevents+json; charset=utf-16")), 415);
	assert.equal(status(structured(event, "application/json")), 415);
	assert.equal(status(parse({}, Buffer.from(event))), 415);
	assert.equal(status(structured(event, 'Application/CloudEvents+JSON; charset="UTF-8"')), 200);
});

test("binary data is kept as JSON, text or base64 by its content type", () => {
	const data = (contentType: string | undefined, body: string | Buffer): unknown => {
		const parsed = parse({ ...binary, ...(contentType === undefined ? {} : { "content-type": contentType }) }, Buffer.from(body));
		assert.ok(parsed.ok, JSON.stringify(parsed));
		const [member] = parsed.members;
		assert.ok(member?.ok);
		return member.event.data ?? member.event.data_base64;
	};
	assert.deepEqual(data("application/json", '{"a": 1}'), { a: 1 });
	assert.equal(data("application/problem+json", "7"), 7);
	assert.equal(data("text/plain", 'say "hé"'), 'say "hé"');
	assert.equal(data("text/plain", Buffer.from([0xff])), "/w==");
	assert.equal(data("application/octet-stream", "abc"), "YWJj");
	assert.equal(data(undefined, "abc"), "YWJj");
	assert.equal(data("application/json", ""), undefined);
	assert.equal(status(parse({ ...binary, "content-type": "application/json" }, Buffer.from("{"))), 400);
});

test("binary header values are judged like attributes; priority becomes a number", () => {
	const parsed = parse({ ...binary, "ce-priority": "8" }, Buffer.alloc(0));
	assert.ok(parsed.ok && parsed.members[0]?.ok);
	assert.equal(parsed.members[0].event.priority, 8);
	const reason = (fields: Fields): string => {
		const refused = parse({ ...binary, ...fields }, Buffer.alloc(0));
		if (!refused.ok) return refused.reason;
		const [member] = refused.members;
		return member === undefined || member.ok ? "" : member.reason;
	};
	assert.match(reason({ "ce-priority": "88" }), /priority/);
	assert.match(reason({ "ce-subject": "%zz" }), /percent-encoded/);
	assert.match(reason({ "ce-subject": "%0A" }), /control character/);
	assert.match(reason({ "ce-subject": "\u00e9" }), /percent-encoded/);
	assert.match(reason({ "ce-__proto__": "x" }), /attribute name/);
	assert.match(reason({ "ce-data": "x" }), /ce-data/);
	assert.match(reason({ "ce-data_base64": "AAAA" }), /ce-data_base64 must not be present/);
	assert.match(reason({ "ce-datacontenttype": "text/plain" }), /ce-datacontenttype/);
	assert.match(reason({ "ce-type": "" }), /type must be a non-empty string/);
});
