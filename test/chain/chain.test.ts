/**
 * Retries across hops: four sidecars in a row, each with the retries that are on by default, in front of a service that is down. Trying again
 * at each of them would ask it 3 x 3 x 3 x 3 times for one request; the marks that they give each other keep it to what one of them may do.
 */
import assert from "node:assert/strict";
import { type AddressInfo, createServer } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { httpServer, startSidecar, type TestSidecar } from "../sidecar/support.ts";
import { rawClient } from "../support/raw-peer.ts";
import { valuesOf } from "../support/strict-reader.ts";

const HOPS = 4;
const CLIENTS = 10;
const REQUESTS_OF_EACH = 60;
const REQUESTS = CLIENTS * REQUESTS_OF_EACH;
// The defaults: 20 % of the requests and 10/s, over 10 s.
const RATIO = 0.2;
const RESERVE = 100;
const WINDOW_MS = 10_000;

interface Answered {
	readonly status: number;
	readonly retried: boolean;
}

/** From the first to the last; the last calls `address`. */
async function startChain(t: TestContext, address: string): Promise<TestSidecar[]> {
	const chain: TestSidecar[] = [];
	let next = address;
	for (let hop = HOPS; hop >= 1; hop--) {
		const sidecar = await startSidecar(t, `outbound: { listen: 127.0.0.1:0 }\nupstreams:\n  last: { endpoints: [ { address: "${next}" } ] }\n`);
		chain.unshift(sidecar);
		next = `127.0.0.1:${sidecar.port("outbound")}`;
	}
	return chain;
}

/** As many requests as clients make one after the other; resolves with the answers and how long they took. */
async function ask(t: TestContext, first: TestSidecar): Promise<{ answers: Answered[]; elapsedMs: number }> {
	const startedMs = performance.now();
	const answers = await Promise.all(
		Array.from({ length: CLIENTS }, async () => {
			const client = await rawClient(t, first.port("outbound"));
			const own: Answered[] = [];
			for (let n = 0; n < REQUESTS_OF_EACH; n++) {
				const answer = await client.send("GET / HTTP/1.1\r\nHost: last\r\n\r\n").answer(n);
				own.push({
					status: answer.status,
					retried: valuesOf(answer, "x-nexus-retried").length > 0,
				});
			}
			return own;
		}),
	);
	return { answers: answers.flat(), elapsedMs: performance.now() - startedMs };
}

function assertOneBudget(tries: number, elapsedMs: number): void {
	const budget = RATIO * REQUESTS + RESERVE * Math.ceil(elapsedMs / WINDOW_MS);
	assert.ok(tries <= REQUESTS + budget, `${tries} tries for ${REQUESTS} requests: one hop may add ${budget}`);
	// Trying again has not been given up altogether.
	assert.ok(tries > REQUESTS, `${tries} tries for ${REQUESTS} requests`);
}

/** Only the hop whose own callee is down tries again; the others have been told that it was in vain. */
async function assertTriedAtTheLastHop(chain: readonly TestSidecar[]): Promise<void> {
	const sent = await Promise.all(chain.map((sidecar) => sidecar.metric("nexus_retries_total", { upstream: "last", result: "sent" })));
	assert.deepEqual(sent.slice(0, -1), [0, 0, 0]);
	assert.ok((sent.at(-1) ?? 0) > 0);
	const [suppressed = 0] = await Promise.all(
		chain.slice(-2).map((sidecar) => sidecar.metric("nexus_retries_total", { upstream: "last", result: "suppressed" })),
	);
	assert.ok(suppressed > 0);
}

describe("four sidecars in front of a dead service", () => {
	it("keep the tries within the budget of one hop where it accepts and resets", async (t) => {
		let connects = 0;
		const server = createServer((socket) => {
			connects++;
			socket.on("error", () => undefined);
			socket.resetAndDestroy();
		});
		t.after(() => server.close());
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		const chain = await startChain(t, `127.0.0.1:${(server.address() as AddressInfo).port}`);
		const { answers, elapsedMs } = await ask(t, chain[0] as TestSidecar);
		assertOneBudget(connects, elapsedMs);
		assert.ok(answers.every(({ status }) => status === 502 || status === 503));
		assert.ok(answers.some(({ retried }) => retried));
		await assertTriedAtTheLastHop(chain);
	});

	it("keep the tries within the budget of one hop where it answers 503, and mark which try each is", async (t) => {
		const attempts = new Map<string, number>();
		const service = await httpServer(t, (req, res) => {
			const attempt = String(req.headers["x-nexus-attempt"] ?? 1);
			attempts.set(attempt, (attempts.get(attempt) ?? 0) + 1);
			res.writeHead(503, { "content-length": 0 }).end();
		});
		const chain = await startChain(t, service.address);
		const { answers, elapsedMs } = await ask(t, chain[0] as TestSidecar);
		const tries = [...attempts.values()].reduce((sum, count) => sum + count, 0);
		assertOneBudget(tries, elapsedMs);
		assert.equal(attempts.get("1"), REQUESTS);
		assert.deepEqual([...attempts.keys()].toSorted(), ["1", "2", "3"]);
		assert.ok(answers.every(({ status }) => status === 503));
		assert.ok(answers.some(({ retried }) => retried));
		await assertTriedAtTheLastHop(chain);
	});

	it("hand on the first good answer once it is back, without a mark", async (t) => {
		let asked = 0;
		const service = await httpServer(t, (_req, res) => {
			asked++;
			res.writeHead(asked === 1 ? 503 : 200, { "content-length": 2 }).end("ok");
		});
		const [first] = await startChain(t, service.address);
		const client = await rawClient(t, (first as TestSidecar).port("outbound"));
		const answer = await client.send("GET / HTTP/1.1\r\nHost: last\r\n\r\n").answer(0);
		assert.equal(answer.status, 200);
		assert.deepEqual(valuesOf(answer, "x-nexus-retried"), []);
		assert.equal(asked, 2);
	});
});

describe("a request that is a retry already", () => {
	it("is not tried again by the hop that gets it", async (t) => {
		let asked = 0;
		const service = await httpServer(t, (_req, res) => {
			asked++;
			res.writeHead(503, { "content-length": 0 }).end();
		});
		const [first] = await startChain(t, service.address);
		const client = await rawClient(t, (first as TestSidecar).port("outbound"));
		await client.send("GET / HTTP/1.1\r\nHost: last\r\nx-nexus-attempt: 2\r\n\r\n").answer(0);
		assert.equal(asked, 1);
		// A mark that makes no sense is none.
		await client.send("GET / HTTP/1.1\r\nHost: last\r\nx-nexus-attempt: many\r\n\r\n").answer(1);
		assert.equal(asked, 1 + 3);
	});
});
