/** One try: slot, permit, connection are each taken once and given back once, in whatever phase it ends. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import type { BodyDecoder } from "../../src/http1/body-decoder.ts";
import { defaultUpstream, NO_PLACE } from "../../src/policy/compile.ts";
import type { FaultPolicy } from "../../src/policy/resilience-policy.ts";
import type { EndpointPolicy } from "../../src/policy/snapshot.ts";
import { FaultInjector } from "../../src/resilience/fault/fault-injector.ts";
import { Try, type TryObserver, type TryRequest } from "../../src/upstream/try.ts";
import { Upstream } from "../../src/upstream/upstream.ts";
import { freePorts } from "../support/processes.ts";
import { ok, type RawUpstream, rawUpstream } from "../support/raw-peer.ts";
import { Bench, tcp, until } from "./support.ts";

const GUARD = { timeout: 30_000 };
const DEFAULTS = defaultUpstream();

class Observer implements TryObserver {
	readonly notes: string[] = [];
	sent = 0;
	onSent(): void {
		this.sent++;
	}
	onResponse(_: Try, { status }: { status: number }, body: BodyDecoder): void {
		this.notes.push(`head ${status}${body.done ? ", whole" : ""}`);
	}
	onBody(_: Try, body: BodyDecoder): void {
		if (body.done) this.notes.push("end");
	}
	onInterim(): void {
		this.notes.push("interim");
	}
	onUpgraded(): void {
		this.notes.push("upgraded");
	}
	onWritable(): void {}
	onFailed({ reason }: Try): void {
		this.notes.push(`failed: ${reason}`);
	}
	onInjectedAnswer({ injectedStatus }: Try): void {
		this.notes.push(`injected ${injectedStatus}`);
	}
}

function request(more: Partial<TryRequest> = {}): TryRequest {
	return {
		method: "GET",
		host: "a",
		target: "/",
		header: () => undefined,
		route: "",
		complete: true,
		headRequest: false,
		upgrade: false,
		hash: undefined,
		perTryTimeoutMs: undefined,
		trace: undefined,
		textOf: () => "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		...more,
	};
}

interface Made {
	readonly bench: Bench;
	readonly upstream: Upstream;
	readonly observer: Observer;
	/** A further one at the same upstream. */
	another(): { tried: Try; observer: Observer };
	readonly tried: Try;
}

async function make(t: TestContext, peers: readonly Pick<RawUpstream, "port">[], slots = 1): Promise<Made> {
	const bench = new Bench(t);
	bench.clock.advance(1);
	const place = NO_PLACE;
	const upstream = new Upstream(
		{
			name: "api",
			loadBalancing: "round-robin",
			balancing: DEFAULTS.balancing,
			guards: {
				circuitBreaker: {
					place,
					scope: "upstream",
					trip: {
						place,
						consecutiveFailures: 1,
						failureRate: undefined,
						slowCallRate: undefined,
						slowCallMs: 1000,
						windowMs: 10_000,
						minRequests: 20,
					},
					successThreshold: 1,
					openForMs: 60_000,
					maxOpenForMs: 60_000,
					jitter: 0,
					halfOpenMaxConcurrent: 1,
					failureStatuses: [{ from: 500, to: 599 }],
					fallback: undefined,
				},
				concurrency: { place, kind: "fixed", limitMin: 1, limitMax: slots, pendingMax: 1, pendingTimeoutMs: 1000 },
				outlierDetection: undefined,
				retryBudget: DEFAULTS.retryBudget,
			},
			timeout: { requestMs: 1000, connectMs: 1000, idleMs: 60_000 },
			pool: { connectionsMax: 1, pendingMax: 10, pendingTimeoutMs: 1000 },
			checked: false,
			holdWhileRefused: false,
			zone: undefined,
		},
		{ clock: bench.clock, wheel: bench.wheel, shared: bench.shared, rng: seededRng(1) },
	);
	t.after(() => upstream.destroy());
	upstream.setEndpoints(peers.map(({ port }): EndpointPolicy => ({ address: tcp(port), weight: 1, zone: undefined })));
	const another = (): { tried: Try; observer: Observer } => {
		const observer = new Observer();
		return { observer, tried: new Try(observer, bench.clock, bench.wheel) };
	};
	return { bench, upstream, ...another(), another };
}

/** Nothing is held any more, and giving up again changes nothing. */
function assertGivenBack({ upstream, tried }: Pick<Made, "upstream" | "tried">, state: "closed" | "open"): void {
	for (let i = 0; i < 2; i++) {
		const [endpoint] = upstream.endpoints();
		const breaker = upstream.guards.breakerBefore("");
		const { active, pending } = upstream.guards.bulkhead?.view() ?? { active: -1, pending: -1 };
		assert.deepEqual(
			{
				active,
				pending,
				requests: endpoint?.activeRequests,
				waiting: endpoint?.pool.stats.pending,
				permits: breaker?.view().underWay,
				state: breaker?.state,
			},
			{ active: 0, pending: 0, requests: 0, waiting: 0, permits: 0, state },
		);
		assert.equal(tried.active, false);
		tried.cancel("timeout");
		tried.finish();
	}
}

function inject(made: Made, action: FaultPolicy["action"]): void {
	const { clock } = made.bench;
	const faults = new FaultInjector({ clock, rng: seededRng(1), onInjected: () => {} });
	faults.set([
		{
			place: undefined,
			name: "f1",
			upstream: "api",
			action,
			percent: 100,
			match: undefined,
			endpoints: [],
			endpointsMax: undefined,
			exempt: false,
			expiresAtMs: undefined,
		},
	]);
	made.upstream.faults = faults;
}

describe("a try that ends", GUARD, () => {
	it("with a whole answer gives everything back, the connection to the pool", async (t) => {
		const made = await make(t, [await rawUpstream(t, () => ok())]);
		made.tried.start(made.upstream, request(), 1, false, []);
		await until(() => made.observer.notes.length > 0);
		assert.deepEqual(made.observer.notes, ["head 200, whole"]);
		made.tried.finish();
		assertGivenBack(made, "closed");
		assert.equal([...made.upstream.endpoints()][0]?.pool.stats.idle, 1);
	});

	it("with a 503 counts against the breaker before its body has come", async (t) => {
		const made = await make(t, [await rawUpstream(t, () => "HTTP/1.1 503 Down\r\nContent-Length: 9\r\n\r\nhalf")]);
		made.tried.start(made.upstream, request(), 1, false, []);
		await until(() => made.observer.notes.length > 0);
		assert.equal(made.upstream.guards.breakerBefore("")?.state, "open");
		made.tried.cancel("not-its-fault");
		assertGivenBack(made, "open");
		await until(() => [...made.upstream.endpoints()][0]?.pool.stats.open === 0);
	});

	it("by a refused connection says that nothing has left", async (t) => {
		const [port = 0] = await freePorts(1);
		const made = await make(t, [{ port }]);
		made.tried.start(made.upstream, request(), 1, false, []);
		await until(() => made.observer.notes.length > 0);
		assert.deepEqual([made.observer.notes, made.tried.unsent, made.observer.sent], [["failed: connect_refused"], true, 0]);
		assertGivenBack(made, "open");
	});

	it("without any endpoint counts against nobody", async (t) => {
		const made = await make(t, []);
		made.tried.start(made.upstream, request(), 1, false, []);
		assert.deepEqual(made.observer.notes, ["failed: no_healthy_endpoint"]);
		assert.equal(made.upstream.guards.breakerBefore("")?.view().underWay, 0);
		assert.equal(made.upstream.guards.breakerBefore("")?.state, "closed");
	});
});

describe("a try that is given up", GUARD, () => {
	for (const [cause, state] of [
		["not-its-fault", "closed"],
		["timeout", "open"],
	] as const) {
		it(`while its connection is opened gives everything back (${cause})`, async (t) => {
			const made = await make(t, [await rawUpstream(t)]);
			made.tried.start(made.upstream, request(), 1, false, []);
			made.tried.cancel(cause);
			assertGivenBack(made, state);
			assert.deepEqual(made.observer.notes, []);
		});

		it(`before the head gives everything back, and closes its connection (${cause})`, async (t) => {
			const peer = await rawUpstream(t, () => undefined);
			const made = await make(t, [peer]);
			made.tried.start(made.upstream, request(), 1, false, []);
			await until(() => peer.requests.length === 1);
			made.tried.cancel(cause);
			assertGivenBack(made, state);
			await peer.connections[0]?.untilClosed();
		});
	}

	it("in the middle of its body counts as the success that its head was, whatever the cause", async (t) => {
		const made = await make(t, [await rawUpstream(t, () => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")]);
		made.tried.start(made.upstream, request(), 1, false, []);
		await until(() => made.observer.notes.length > 0);
		made.tried.cancel("timeout");
		assertGivenBack(made, "closed");
	});

	it("while it waits for a slot leaves the queue", async (t) => {
		const made = await make(t, [await rawUpstream(t, () => undefined)]);
		made.tried.start(made.upstream, request(), 1, false, []);
		const { tried } = made.another();
		tried.start(made.upstream, request(), 1, false, []);
		assert.equal(made.upstream.guards.bulkhead?.view().pending, 1);
		tried.cancel("timeout");
		assert.equal(made.upstream.guards.bulkhead?.view().pending, 0);
		made.tried.cancel("not-its-fault");
		assertGivenBack({ upstream: made.upstream, tried }, "closed");
	});

	it("while a fault delays it is never sent", async (t) => {
		const peer = await rawUpstream(t, () => ok());
		const made = await make(t, [peer]);
		inject(made, { kind: "delay", distribution: "fixed", ms: 500, msMax: 500 });
		made.tried.start(made.upstream, request(), 1, false, []);
		made.bench.clock.advance(400);
		made.tried.cancel("not-its-fault");
		made.bench.clock.advance(1000);
		assertGivenBack(made, "closed");
		assert.equal(peer.connections.length, 0);
	});
});

describe("a fault that ends a try", GUARD, () => {
	for (const [action, note] of [
		[{ kind: "abort", status: 503 }, "injected 503"],
		[{ kind: "reset" }, "failed: upstream_reset"],
		[{ kind: "refuse" }, "failed: connect_refused"],
	] as const) {
		it(`by ${action.kind} is seen by the breaker, and names itself`, async (t) => {
			const made = await make(t, [await rawUpstream(t)]);
			inject(made, action);
			made.tried.start(made.upstream, request(), 1, false, []);
			assert.deepEqual([made.observer.notes, made.tried.injectedBy], [[note], "f1"]);
			assert.equal(made.tried.unsent, action.kind === "refuse");
			assertGivenBack(made, "open");
		});
	}

	it("by a black hole lasts until its time is over", async (t) => {
		const made = await make(t, [await rawUpstream(t)]);
		inject(made, { kind: "black-hole" });
		made.tried.start(made.upstream, request({ perTryTimeoutMs: 200 }), 1, false, []);
		made.bench.clock.advance(200);
		assert.deepEqual(made.observer.notes, []);
		made.bench.clock.advance(100);
		assert.deepEqual(made.observer.notes, ["failed: per_try_timeout"]);
		assertGivenBack(made, "open");
	});
});

describe("a try whose time is over when its connection comes", GUARD, () => {
	it("sends nothing, and leaves the connection to others", async (t) => {
		const peer = await rawUpstream(t, () => ok());
		const made = await make(t, [peer], 2);
		made.tried.start(made.upstream, request({ textOf: () => undefined }), 1, false, []);
		const [endpoint] = made.upstream.endpoints();
		await until(() => endpoint?.pool.stats.idle === 1);
		assert.deepEqual([made.observer.notes, made.observer.sent, made.tried.sentMs], [[], 0, 0]);
		made.tried.cancel("not-its-fault");
		assertGivenBack(made, "closed");
		const { tried, observer } = made.another();
		tried.start(made.upstream, request(), 1, false, []);
		await until(() => observer.notes.length > 0);
		assert.deepEqual([peer.requests.length, peer.connections.length], [1, 1]);
	});
});

describe("tries that meet a limit", GUARD, () => {
	it("wait, are refused beyond the queue, and go on when a slot is free", async (t) => {
		const peer = await rawUpstream(t, () => ok());
		const made = await make(t, [peer]);
		made.tried.start(made.upstream, request(), 1, false, []);
		const [second, third] = [made.another(), made.another()];
		second.tried.start(made.upstream, request(), 1, false, []);
		third.tried.start(made.upstream, request(), 1, false, []);
		assert.deepEqual(third.observer.notes, ["failed: endpoint_overflow"]);
		await until(() => made.observer.notes.length > 0);
		made.tried.finish();
		await until(() => second.observer.notes.length > 0);
		second.tried.finish();
		assertGivenBack({ upstream: made.upstream, tried: second.tried }, "closed");
	});

	it("wait no longer than they may, which counts against nobody", async (t) => {
		const peer = await rawUpstream(t, () => undefined);
		const made = await make(t, [peer]);
		made.tried.start(made.upstream, request(), 1, false, []);
		await until(() => peer.requests.length === 1);
		const { tried, observer } = made.another();
		tried.start(made.upstream, request(), 1, false, []);
		made.bench.clock.advance(1200);
		assert.deepEqual(observer.notes, ["failed: queue_timeout"]);
		made.tried.cancel("not-its-fault");
		assertGivenBack({ upstream: made.upstream, tried }, "closed");
	});
});
