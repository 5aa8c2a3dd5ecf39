/** Holds the import ranks and the house rules that a parser can see. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type ArchitectureRules, violationsOf } from "./support/architecture.ts";

const RANKS: readonly (readonly string[])[] = [
	["core"],
	["http1", "http2", "policy", "events", "metrics"],
	["net", "identity", "balance", "resilience", "limits"],
	["upstream", "server", "health", "telemetry", "client"],
	["sidecar", "nexus", "cli"],
	["main.ts"],
];

const RULES: ArchitectureRules = {
	ranks: new Map(RANKS.flatMap((rooms, rank) => rooms.map((room) => [room, rank] as const))),
	codecs: new Set(["http1", "http2"]),
	sockets: new Set(["node:net", "node:tls", "node:http", "node:https", "node:http2", "node:dgram", "node:dns", "node:dns/promises", "undici", "ws"]),
	linesMax: 300,
	longFiles: new Map([
		["http1/head-parser.ts", "one resumable machine over one position in one buffer: its states share every variable"],
		["sidecar/exchange/exchange.ts", "the state that both sides of an exchange share; what can be decided apart from it stands in files beside it"],
		["upstream/try.ts", "one state machine: whatever a try has taken is given back on each of its ways out"],
		["sidecar/sidecar.ts", "the composition root: what is put together here, and what it shows of itself, is one list"],
		["server/server-connection.ts", "one state machine of a connection's life: each of its events reads and writes the same state"],
		["upstream/http1-connection.ts", "one state machine of a connection's life, from the dial to the close"],
		["sidecar/exchange/tries.ts", "one state machine: first, further and hedged tries share what is under way; each decision stands elsewhere"],
		[
			"nexus/subscriptions/dispatcher.ts",
			"one state machine of an event's tries: what is decided apart from it (window, pace, queue, flights, letters, progress) stands beside it",
		],
		["events/catalogue.ts", "one table: every event, its data and its weight"],
		["sidecar/exchange/client-connection.ts", "one state machine: each of its events reads and writes the same state"],
	]),
};

test("the sources import downwards only and keep the house rules", () => {
	assert.deepEqual(violationsOf(fileURLToPath(new URL("..", import.meta.url)), RULES), []);
});

test("each kind of violation is told, with its file and line", () => {
	const rules = {
		...RULES,
		longFiles: new Map([
			["policy/long-with-a-reason.ts", "one table"],
			["policy/places.ts", "was long once"],
		]),
	};
	assert.deepEqual(violationsOf(fileURLToPath(new URL("./fixtures/bad-tree", import.meta.url)), rules), [
		"src/attic/forgotten.ts:1: stands in no room that has a rank",
		"src/core/imports-package.ts:2: core imports undici; it may import node: only",
		"src/core/imports-upwards.ts:2: core (rank 0) imports policy (rank 1) above it",
		"src/core/starts-worker-above.ts:2: core (rank 0) imports net (rank 2) above it",
		"src/events/exports-default-as-name.ts:3: exports by default; exports have names",
		"src/events/exports-default.ts:2: exports by default; exports have names",
		"src/events/notes.txt:1: is not a source that the compiler reads",
		"src/http1/imports-socket.ts:2: http1 imports node:net; a codec knows no sockets",
		"src/metrics/imports-sibling-type.ts:2: metrics imports policy, its sibling of rank 1",
		"src/metrics/names-sibling-in-type.ts:2: metrics imports policy, its sibling of rank 1",
		"src/net/ends-process.ts:3: ends the process; only main.ts may",
		"src/net/imports-computed.ts:3: imports what only the run time knows",
		"src/net/imports-exit.ts:2: ends the process; only main.ts may",
		"src/net/imports-outside.ts:2: imports ../../outside.ts, outside of src/",
		"src/net/reexports-upwards.ts:2: net (rank 2) imports upstream (rank 3) above it",
		"src/policy/long.ts:1: has 301 lines, more than 300",
		"src/policy/places.ts:1: is listed as a long file and is none",
		"src/sidecar/imports-nexus-when-called.ts:3: sidecar imports nexus, its sibling of rank 4",
	]);
});
