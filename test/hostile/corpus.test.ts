/** The conformance corpus over real sockets: the data plane relays what the codec alone would relay, and nothing else reaches an application. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { normalTarget } from "../../src/policy/path-normal.ts";
import { ARRIVALS, relayRequests } from "../http1/sans-io-relay.ts";
import { ok, rawClient, rawUpstream } from "../support/raw-peer.ts";
import { readRequests, relayFaults } from "../support/strict-reader.ts";
import { runInbound } from "./support.ts";

const CORPUS = new URL("../../../shared/conformance/http1-requests.jsonl", import.meta.url);
const SKIP = existsSync(CORPUS) ? false : "the shared conformance corpus is not beside the repository";
/** A case of more reads would test patience, not parsing. */
const READS_MAX = 400;

suite("each request of the corpus, through a sidecar", { skip: SKIP, timeout: 300_000 }, () => {
	for (const [arrival, split] of ARRIVALS) {
		test(`${arrival}: what the codec relays reaches the application, and the rest is answered and closed`, async (t) => {
			const upstream = await rawUpstream(t, () => ok());
			const sidecar = await runInbound(t, upstream.address);
			const differences: string[] = [];
			for (const line of readFileSync(CORPUS, "utf8").trim().split("\n")) {
				const { id, bytes_b64 } = JSON.parse(line) as { id: string; bytes_b64: string };
				const bytes = Buffer.from(bytes_b64, "base64");
				const alone = relayRequests([bytes]);
				const reads = split(bytes);
				// Here nobody grants an upgrade, so what follows one is the next request, not a tunnel.
				if (alone.ending === "tunnel" || reads.length > READS_MAX) continue;
				const before = upstream.requests.length;
				const client = await rawClient(t, sidecar.port("inbound"));
				for (const read of reads) {
					client.send(read);
					// A turn of the loop, so that small writes leave one by one.
					if (reads.length > 1) await new Promise((resolve) => setImmediate(resolve));
				}
				client.end();
				await client.untilClosed();
				const relayed = upstream.requests.slice(before);
				const expected = readRequests(alone.written).messages;
				const say = (what: string): unknown => differences.push(`${id}: ${what}`);
				if (relayed.length !== expected.length) say(`${relayed.length} relayed instead of ${expected.length}`);
				for (const [i, request] of relayed.entries()) {
					for (const fault of relayFaults(request, "")) say(fault);
					// The codec knows no paths: what it relays as it came, a sidecar sends on in its normal form.
					const target = normalTarget(expected[i]?.target ?? "");
					if (request.method !== expected[i]?.method || request.target !== target) say(`another request: ${request.startLine}`);
					if (expected[i]?.body.equals(request.body) !== true) say("another body");
				}
				client.methods.push(...relayed.map((request) => request.method));
				const refusals = client.answers.filter((answer) => answer.status >= 400).length;
				if (alone.ending === "refused" && refusals === 0) say("refused without a word");
			}
			assert.deepEqual(differences, []);
			assert.ok(upstream.requests.length > 250, `only ${upstream.requests.length} requests were relayed`);
		});
	}
});
