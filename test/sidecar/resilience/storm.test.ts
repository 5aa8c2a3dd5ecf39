/**
 * Whatever a request has taken it gives back, however it ends: hundreds of requests whose clients and upstreams leave in every phase, drawn by
 * a seeded generator; afterwards no permit, slot, connection or count is out, and the sidecar serves as before.
 */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { type Rng, seededRng } from "../../../src/core/rng.ts";
import { ok, type RawClient, type RawUpstreamConnection } from "../../support/raw-peer.ts";
import { assertAllReturned, get, group, startOutbound, type Tried, turns, until } from "../exchange/support.ts";

const GUARD = { timeout: 120_000 };
const REQUESTS = 600;
const AT_A_TIME = 24;

function pick<T>(rng: Rng, choices: readonly T[]): T {
	return choices[Math.floor(rng() * choices.length)] as T;
}

/** What an endpoint does with a request. */
function behave(rng: Rng, connection: RawUpstreamConnection): string | undefined {
	switch (pick(rng, ["ok", "ok", "503", "reset", "silent", "half-head", "half-body", "reset-body", "chunks", "early"])) {
		case "ok":
			return ok("x".repeat(Math.floor(rng() * 100_000)));
		case "503":
			return "HTTP/1.1 503 Down\r\nContent-Length: 4\r\n\r\ndown";
		case "reset":
			connection.reset();
			return undefined;
		case "half-head":
			connection.send("HTTP/1.1 200 OK\r\nConte");
			connection.socket.end();
			return undefined;
		case "half-body":
			return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf";
		case "reset-body":
			connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
			setImmediate(() => connection.reset());
			return undefined;
		case "chunks":
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\n";
		case "early":
			return "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
		default:
			return undefined;
	}
}

function request(rng: Rng): string {
	const fields = rng() < 0.2 ? "X-Nexus-Deadline-Ms: 150\r\n" : "";
	switch (pick(rng, ["get", "get", "head", "put", "chunked", "half", "pipelined"])) {
		case "head":
			return `HEAD / HTTP/1.1\r\nHost: api\r\n${fields}\r\n`;
		case "put":
			return `PUT / HTTP/1.1\r\nHost: api\r\n${fields}Content-Length: 5000\r\n\r\n${"b".repeat(5000)}`;
		case "chunked":
			return `POST / HTTP/1.1\r\nHost: api\r\n${fields}Idempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`;
		case "half":
			return `PUT / HTTP/1.1\r\nHost: api\r\n${fields}Content-Length: 5000\r\n\r\nhalf`;
		case "pipelined":
			return get(fields).repeat(3);
		default:
			return get(fields);
	}
}

/** Goes away in the way and at the time that is drawn; or stays for its answer, a while. */
async function leave(rng: Rng, client: RawClient): Promise<void> {
	const how = pick(rng, ["reset", "reset", "end", "destroy", "answer"]);
	if (how === "answer") {
		const beganMs = performance.now();
		await until(() => client.bytes > 0 || client.closed || performance.now() - beganMs > 300);
	} else await turns(Math.floor(rng() ** 2 * 2500));
	if (how === "end") client.socket.end();
	else if (how === "reset") client.reset();
	client.socket.destroy();
}

async function storm(t: TestContext, seed: number, keys: string): Promise<{ tested: Tried; calm(): void }> {
	const rng = seededRng(seed);
	let calm = false;
	const { upstreams } = await group(t, 3, (_, __, ___, connection) => (calm ? ok() : behave(rng, connection)));
	const tested = await startOutbound(t, upstreams, keys);
	let begun = 0;
	const one = async (): Promise<void> => {
		while (begun < REQUESTS) {
			begun++;
			const client = await tested.client();
			client.keep = false;
			client.socket.on("error", () => {});
			const text = request(rng);
			const cut = rng() < 0.1 ? Math.floor(rng() * text.length) : text.length;
			client.send(text.slice(0, cut));
			await leave(rng, client);
		}
	};
	await Promise.all(Array.from({ length: AT_A_TIME }, one));
	const { retries } = tested.upstream("api");
	assert.ok(retries.sent > 10 && retries.hedgesSent > 0, `too calm a storm: ${JSON.stringify(retries)}`);
	return {
		tested,
		calm: () => {
			calm = true;
		},
	};
}

function settled(tested: Tried): boolean {
	return (
		tested.upstream("api").endpoints.every(({ activeRequests, pool }) => activeRequests === 0 && pool.pending === 0) &&
		(tested.upstream("api").concurrency?.pending ?? 0) === 0
	);
}

const ALL = `retry: { backoff: { base: 2ms, max: 10ms }, perTryTimeout: 100ms, budget: { minPerSecond: 100 }, hedge: { after: 4ms, maxExtra: 100% } }, timeout: { request: 500ms, idle: 300ms }`;

describe("after a storm of clients and endpoints that leave in every phase", GUARD, () => {
	for (const [seed, scope] of [
		[1, "upstream"],
		[2, "endpoint"],
		[3, "route"],
	] as const) {
		it(`nothing is out, with breakers by ${scope} (seed ${seed})`, async (t) => {
			const breaker = `circuitBreaker: { scope: ${scope}, failureThreshold: 4, openFor: 100ms, maxConcurrent: 16, maxPending: 6, pendingTimeout: 100ms }`;
			const { tested, calm } = await storm(
				t,
				seed,
				`${ALL}, ${breaker}, outlierDetection: { consecutiveFailures: 4, interval: 100ms, baseEjectionTime: 100ms }`,
			);
			await until(() => settled(tested));
			await until(() => tested.sidecar.listeners().every(({ name, open }) => name === "admin" || open === 0));
			assertAllReturned(tested);
			calm();
			// Whatever has tripped or was ejected comes back by itself.
			let status = 0;
			while (status !== 200) status = (await tested.ask(get())).status;
			assertAllReturned(tested);
		});
	}

	it("nothing is out, with few connections and no queue to speak of (seed 4)", async (t) => {
		const keys = `${ALL}, pool: { maxConnections: 4, maxPending: 2, pendingTimeout: 100ms }, circuitBreaker: { failureThreshold: 1000 }, outlierDetection: { enabled: false }`;
		const { tested, calm } = await storm(t, 4, keys);
		await until(() => settled(tested));
		await until(() => tested.sidecar.listeners().every(({ name, open }) => name === "admin" || open === 0));
		assertAllReturned(tested);
		calm();
		assert.equal((await tested.ask(get())).status, 200);
		for (const { pool } of tested.upstream("api").endpoints) assert.ok(pool.open <= 4);
	});

	it("nothing is out after a drain in the middle of it", async (t) => {
		const { upstreams } = await group(t, 2, () => undefined);
		const tested = await startOutbound(
			t,
			upstreams,
			`${ALL.replace("500ms", "30s").replace("perTryTimeout: 200ms, ", "")}, circuitBreaker: { maxConcurrent: 4 }`,
		);
		const clients = await Promise.all(Array.from({ length: 20 }, () => tested.client()));
		for (const client of clients) client.send(get());
		await until(() => (tested.upstream("api").concurrency?.pending ?? 0) > 0);
		await tested.sidecar.close("api");
		await Promise.all(clients.map((client) => client.untilClosed()));
		await until(() => settled(tested));
		assertAllReturned(tested);
	});
});
