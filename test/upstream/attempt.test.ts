/** One attempt: the slot at its endpoint is taken once and given back once, however it ends. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import type { Reason } from "../../src/core/reasons.ts";
import type { BodyDecoder } from "../../src/http1/body-decoder.ts";
import { Attempt, type AttemptObserver, type AttemptRequest } from "../../src/upstream/attempt.ts";
import { Endpoint } from "../../src/upstream/endpoint.ts";
import type { PoolOptions } from "../../src/upstream/pool.ts";
import { freePorts } from "../support/processes.ts";
import { ok, rawUpstream } from "../support/raw-peer.ts";
import { Bench, LATE_MAX_MS, lookupForEver, tcp, until } from "./support.ts";

const REQUEST: AttemptRequest = { text: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", complete: true, headRequest: false, upgrade: false };

class Observer implements AttemptObserver {
	sent = 0;
	status = 0;
	done = false;
	upgraded = false;
	failed: Reason[] = [];
	onAttemptSent(): void {
		this.sent++;
	}
	onResponse(parser: { status: number }, body: BodyDecoder): void {
		this.status = parser.status;
		this.done = body.done;
	}
	onBody(body: BodyDecoder): void {
		this.done = body.done;
	}
	onInterim(): void {}
	onUpgraded(): void {
		this.upgraded = true;
	}
	onAttemptFailed(reason: Reason): void {
		this.failed.push(reason);
	}
	onWritable(): void {}
}

interface Made {
	readonly bench: Bench;
	readonly endpoint: Endpoint;
	readonly observer: Observer;
	readonly attempt: Attempt;
}

function make(t: TestContext, port: number, options: Partial<PoolOptions> = {}): Made {
	const bench = new Bench(t);
	const address = tcp(port, options.lookup === undefined ? "127.0.0.1" : "nowhere.test");
	const pool = bench.pool(address, options);
	const endpoint = new Endpoint("one", { address, weight: 1, zone: undefined }, pool, "unchecked");
	const observer = new Observer();
	return { bench, endpoint, observer, attempt: new Attempt(observer, bench.clock, bench.wheel) };
}

/** Nothing is held any more, and saying so again changes nothing. */
function assertGivenBack({ endpoint, attempt }: Made): void {
	assert.equal(endpoint.activeRequests, 0);
	attempt.cancel();
	attempt.cancel();
	attempt.finish();
	assert.equal(endpoint.activeRequests, 0);
	assert.equal(endpoint.pool.stats.pending, 0);
}

describe("an attempt gives its slot back exactly once", { timeout: 30_000 }, () => {
	it("after a complete answer, and its connection with it", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const made = make(t, upstream.port);
		const { attempt, endpoint, observer } = made;
		for (let i = 0; i < 3; i++) {
			observer.done = false;
			attempt.start(endpoint, REQUEST, false);
			assert.equal(endpoint.activeRequests, 1);
			await until(() => observer.done);
			assert.equal(endpoint.activeRequests, 1, "until its observer says that it is finished");
			attempt.finish();
			assert.deepEqual([endpoint.activeRequests, endpoint.pool.stats.idle], [0, 1]);
		}
		assert.deepEqual([endpoint.requests, observer.sent, endpoint.pool.stats.connects], [3, 3, 1]);
		assertGivenBack(made);
	});

	it("after a refused connection", async (t) => {
		const [port = 0] = await freePorts(1);
		const made = make(t, port);
		made.attempt.start(made.endpoint, REQUEST, false);
		await until(() => made.observer.failed.length > 0);
		assert.deepEqual(made.observer.failed, ["connect_refused"]);
		assert.equal(made.attempt.sentMs, 0, "nothing was sent");
		assertGivenBack(made);
	});

	it("after a connection that is never accepted, and after a wait that is too long", async (t) => {
		const made = make(t, 1, { lookup: lookupForEver });
		made.attempt.start(made.endpoint, REQUEST, false);
		made.bench.clock.advance(1000 + LATE_MAX_MS);
		assert.deepEqual(made.observer.failed, ["connect_timeout"]);
		assertGivenBack(made);
	});

	it("when the queue is full", async (t) => {
		const made = make(t, 1, { pendingMax: 0 });
		made.attempt.start(made.endpoint, REQUEST, false);
		assert.deepEqual(made.observer.failed, ["endpoint_overflow"]);
		assertGivenBack(made);
	});

	it("when its endpoint is retired while it waits", async (t) => {
		const made = make(t, 1, { lookup: lookupForEver });
		made.attempt.start(made.endpoint, REQUEST, false);
		made.endpoint.pool.retire("no_healthy_endpoint");
		assert.deepEqual(made.observer.failed, ["no_healthy_endpoint"]);
		assertGivenBack(made);
	});

	it("when it is cancelled while it waits: it leaves the queue and hears nothing more", async (t) => {
		const made = make(t, 1, { lookup: lookupForEver });
		made.attempt.start(made.endpoint, REQUEST, false);
		assert.equal(made.endpoint.pool.stats.pending, 1);
		made.attempt.cancel();
		made.bench.clock.advance(5_000);
		assert.deepEqual(made.observer.failed, []);
		assertGivenBack(made);
	});

	it("when it is cancelled after it was sent: the connection is closed, not reused", async (t) => {
		const upstream = await rawUpstream(t);
		const made = make(t, upstream.port);
		made.attempt.start(made.endpoint, REQUEST, false);
		await until(() => made.observer.sent === 1);
		made.attempt.cancel();
		await until(() => made.endpoint.pool.stats.open === 0);
		assert.deepEqual(made.observer.failed, []);
		assertGivenBack(made);
	});

	it("when the endpoint closes in the middle of an answer", async (t) => {
		const upstream = await rawUpstream(t, (_request, connection) => {
			connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").end();
			return undefined;
		});
		const made = make(t, upstream.port);
		made.attempt.start(made.endpoint, REQUEST, false);
		await until(() => made.observer.failed.length > 0);
		assert.deepEqual([made.observer.status, made.observer.failed], [200, ["upstream_reset"]]);
		assertGivenBack(made);
	});

	it("at the end of a tunnel, which its observer cancels", async (t) => {
		const upstream = await rawUpstream(t, () => "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
		const made = make(t, upstream.port);
		const text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
		made.attempt.start(made.endpoint, { ...REQUEST, text, upgrade: true }, false);
		await until(() => made.observer.upgraded);
		assert.equal(made.endpoint.activeRequests, 1);
		made.attempt.cancel();
		assertGivenBack(made);
	});
});

describe("an attempt", { timeout: 30_000 }, () => {
	it("that must be fresh opens a connection although one lies idle", async (t) => {
		const upstream = await rawUpstream(t, () => ok());
		const { attempt, endpoint, observer } = make(t, upstream.port);
		attempt.start(endpoint, REQUEST, false);
		await until(() => observer.done);
		attempt.finish();
		observer.done = false;
		attempt.start(endpoint, REQUEST, true);
		await until(() => observer.done);
		attempt.finish();
		assert.deepEqual([endpoint.pool.stats.connects, endpoint.pool.stats.idle], [2, 2]);
	});
});
