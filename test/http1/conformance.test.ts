/** The corpus of public suites, labelled by a reading of the RFCs: each case in each arrival, then re-read by a reader that shares nothing with us. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { readRequests, readResponses, relayFaults, type StrictMessage } from "../support/strict-reader.ts";
import { ARRIVALS, type Relayed, relayRequests, relayResponse } from "./sans-io-relay.ts";

const CORPUS = new URL("../../../shared/conformance/", import.meta.url);
const SKIP = existsSync(CORPUS) ? false : "the shared conformance corpus is not beside the repository";

interface Case {
	readonly id: string;
	readonly bytes: Buffer;
	/** What the RFCs permit. */
	readonly expect: "forward" | "reject" | "either";
	/** What a strict codec is recommended to do. */
	readonly strict: "forward" | "reject" | "either";
	/** Complete good messages before the offence. */
	readonly messages: number;
}

/** Where we do otherwise than a label says; each with its decision in docs/decisions/0020-http1-verdicts.md. */
const DECIDED: ReadonlyMap<string, string> = new Map([
	["gunicorn-valid-rfc9112_target_absolute_https_01", "an https target is refused on a plain-text listener"],
	["aiohttp-max_headers-03", "more than 128 fields are refused"],
	["llhttp-req-connection-emitting-part-of-body-and-pausing-19", "an upgrade with a body is not asked for upstream"],
	["llhttp-req-connection-upgrade-post-request-21", "an upgrade with a body is not asked for upstream"],
	["aiohttp-http_request_upgrade_with_body_read-01", "an upgrade with a body is not asked for upstream"],
	["llhttp-req-transfer-encoding-no-extension-after-semicolon-09", "chunk extensions are dropped unread"],
	["hyper-chunk-18", "chunk extensions are dropped unread"],
	["hyper-chunk-20", "chunk extensions are dropped unread"],
	["hyper-chunk-23", "chunk extensions are dropped unread"],
	["hyper-chunk-24", "chunk extensions are dropped unread"],
	["waitress-TestHTTPRequestParser-received_body_too_large+host", "chunk extensions are dropped unread"],
	["llhttp-res-transfer-encoding-no-extension-after-semicolon-07", "chunk extensions are dropped unread"],
]);

const NOT_RELAYED = new Set(["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "http2-settings"]);
/** What this relay drops or writes anew besides: forwarding fields of an untrusted client, ids, via, Host and Trailer. */
const REWRITTEN = /^(?:host|expect|trailer|forwarded|via|traceparent|x-request-id|x-real-ip|x-forwarded-.*|x-nexus-.*|content-length)$/;

suite("requests of the conformance corpus", { skip: SKIP }, () => {
	const cases = SKIP === false ? load("http1-requests.jsonl", 700) : [];
	const relay = (reads: readonly Buffer[]): Relayed => relayRequests(reads);
	const upstreamSees = (relayed: Relayed) => readRequests(relayed.written);

	test("get one verdict, however the bytes arrive", () => assertSameVerdicts(cases, relay, upstreamSees));

	test("get the verdict of their label, or the one of a decision record", () => assertLabels(cases, relay));

	test("reach the upstream as unambiguous messages without hop-by-hop fields, whatever the label", () => {
		const faults: string[] = [];
		for (const { id, bytes } of cases) {
			for (const [arrival, split] of ARRIVALS) {
				const relayed = relay(split(bytes));
				const seen = upstreamSees(relayed);
				if (seen.ending === "fault") faults.push(`${id}, ${arrival}: ${seen.fault}`);
				if (seen.messages.length !== relayed.complete) faults.push(`${id}, ${arrival}: ${relayed.complete} relayed, ${seen.messages.length} seen`);
				for (const [i, message] of seen.messages.entries()) {
					const last = i === seen.messages.length - 1;
					faults.push(...relayFaults(message, relayed.ending === "tunnel" && last ? "upgrade" : "").map((fault) => `${id}, ${arrival}: ${fault}`));
				}
			}
		}
		assert.deepEqual(faults, []);
	});

	test("that pass keep method, fields in order and body", () => {
		let compared = 0;
		for (const { id, bytes } of cases) {
			const sent = readRequests(bytes, "sent").messages;
			const seen = upstreamSees(relay([bytes])).messages;
			for (let i = 0; i < Math.min(sent.length, seen.length); i++) {
				const [before, after] = [sent[i] as StrictMessage, seen[i] as StrictMessage];
				assert.equal(after.method, before.method, id);
				assert.deepEqual(endToEnd(after), endToEnd(before), id);
				assert.deepEqual(after.body, before.body, id);
				compared++;
			}
		}
		assert.ok(compared > 250, `only ${compared} messages could be compared`);
	});
});

suite("responses of the conformance corpus", { skip: SKIP }, () => {
	const cases = SKIP === false ? load("http1-responses.jsonl", 141) : [];
	const relay = (reads: readonly Buffer[]): Relayed => relayResponse(reads, "GET");
	const clientSees = (relayed: Relayed) => readResponses(relayed.written, ["GET"], false);

	test("get one verdict, however the bytes arrive", () => assertSameVerdicts(cases, relay, clientSees));

	test("get the verdict of their label, or the one of a decision record", () => assertLabels(cases, relay));

	test("reach the client as unambiguous messages without hop-by-hop fields, whatever the label", () => {
		const faults: string[] = [];
		for (const { id, bytes } of cases) {
			for (const [arrival, split] of ARRIVALS) {
				const relayed = relay(split(bytes));
				const seen = clientSees(relayed);
				if (seen.ending === "fault") faults.push(`${id}, ${arrival}: ${seen.fault}`);
				const finals = seen.messages.filter((message) => message.status >= 200).length;
				if (finals !== relayed.complete) faults.push(`${id}, ${arrival}: ${relayed.complete} relayed, ${finals} seen`);
				for (const message of seen.messages) faults.push(...relayFaults(message, "").map((fault) => `${id}, ${arrival}: ${fault}`));
			}
		}
		assert.deepEqual(faults, []);
	});

	test("that pass keep status, fields in order and body", () => {
		let compared = 0;
		for (const { id, bytes } of cases) {
			const before = readResponses(bytes, ["GET"], true, "sent").messages.find((message) => message.status >= 200);
			const after = clientSees(relay([bytes])).messages.find((message) => message.status >= 200);
			if (before === undefined || after === undefined) continue;
			assert.equal(after.status, before.status, id);
			assert.deepEqual(endToEnd(after), endToEnd(before), id);
			assert.deepEqual(after.body, before.body, id);
			compared++;
		}
		assert.ok(compared > 40, `only ${compared} messages could be compared`);
	});
});

function load(file: string, atLeast: number): Case[] {
	const lines = readFileSync(new URL(file, CORPUS), "utf8").trim().split("\n");
	assert.ok(lines.length >= atLeast, `${file} holds ${lines.length} cases`);
	return lines.map((line) => {
		const record = JSON.parse(line) as Omit<Case, "bytes"> & { bytes_b64: string };
		return { ...record, messages: record.messages ?? 0, bytes: Buffer.from(record.bytes_b64, "base64") };
	});
}

function assertSameVerdicts(
	cases: readonly Case[],
	relay: (reads: readonly Buffer[]) => Relayed,
	read: (relayed: Relayed) => ReturnType<typeof readRequests>,
): void {
	for (const { id, bytes } of cases) {
		const verdicts = ARRIVALS.map(([, split]) => {
			const relayed = relay(split(bytes));
			const { complete, fault, ending, unread } = relayed;
			return { complete, fault, ending, unread, messages: read(relayed).messages };
		});
		for (const [i, verdict] of verdicts.entries()) assert.deepEqual(verdict, verdicts[0], `${id}, ${ARRIVALS[i]?.[0]}`);
	}
}

function assertLabels(cases: readonly Case[], relay: (reads: readonly Buffer[]) => Relayed): void {
	const others: string[] = [];
	for (const { id, bytes, expect, strict, messages } of cases) {
		const { complete, ending, fault } = relay([bytes]);
		const passed = ending !== "refused" && ending !== "incomplete";
		const asLabelled =
			expect === "forward"
				? passed && (messages === 0 || complete === messages)
				: expect === "reject"
					? !passed && complete === messages
					: !passed || strict !== "reject";
		if (asLabelled === DECIDED.has(id)) others.push(`${id}: ${expect}/${strict}, got ${ending} after ${complete}: ${fault?.detail ?? ""}`);
	}
	assert.deepEqual(others, []);
}

/** What must arrive as it was sent. */
function endToEnd(message: StrictMessage): (readonly [string, string])[] {
	const connection = message.fields.filter(([name]) => name.toLowerCase() === "connection").map(([, value]) => value);
	const nominated = new Set(
		connection
			.join(",")
			.split(",")
			.map((option) => option.trim().toLowerCase()),
	);
	return message.fields.filter(([name]) => {
		const lower = name.toLowerCase();
		return !NOT_RELAYED.has(lower) && !REWRITTEN.test(lower) && (!nominated.has(lower) || PROTECTED.has(lower));
	});
}

const PROTECTED = new Set(["authorization", "cache-control", "max-forwards"]);
