/** An admin API on a real socket, over a real policy and real books; what a test changes is in reach. */
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import type { TestContext } from "node:test";
import { IdSource } from "../../../src/core/ids.ts";
import { type LogLevel, silentLogger } from "../../../src/core/log.ts";
import { seededRng } from "../../../src/core/rng.ts";
import type { LimiterView } from "../../../src/limits/limited.ts";
import type { DecisionTrace } from "../../../src/policy/decision-trace.ts";
import { loadPolicy, type PolicyFault } from "../../../src/policy/load.ts";
import type { Snapshot } from "../../../src/policy/snapshot.ts";
import { BreakerSet } from "../../../src/resilience/breaker/breaker-set.ts";
import { type HttpServer, startHttpServer } from "../../../src/server/http-server.ts";
import { AdminApi } from "../../../src/sidecar/admin/admin-api.ts";
import { meshSource } from "../../../src/sidecar/admin/mesh-source.ts";
import type { AdminView, BreakerMode, Readiness, ReloadResult, RunningPolicy } from "../../../src/sidecar/admin/view.ts";
import { FaultBook } from "../../../src/sidecar/faults.ts";
import { EventFeed } from "../../../src/sidecar/telling/event-feed.ts";
import { Exposition } from "../../../src/telemetry/exposition.ts";
import { TapHub } from "../../../src/telemetry/tracing/tap-hub.ts";
import { FailureRing, TraceStore } from "../../../src/telemetry/tracing/trace-store.ts";
import { FakeClock } from "../../support/fake-clock.ts";

export const GUARD = { timeout: 30_000 };

export const POLICY = `
service: checkout
outbound:
  routes:
    - { name: pay, match: { host: payments, path: /pay/** }, to: payments }
upstreams:
  payments:
    endpoints: [{ address: "10.0.0.11:15006" }]
    healthCheck: { kind: http, path: /healthz, headers: { authorization: Bearer hunter2 } }
    circuitBreaker: { scope: endpoint }
    fault: { name: slow, delay: { percent: 5, duration: 200ms } }
  ledger:
    endpoints: [{ address: "10.0.0.12:15006" }]
nexus: { url: "http://127.0.0.1:7400" }
`;

export const ENDPOINT = "10.0.0.11:15006";

function load(text: string, version: number): { snapshot?: Snapshot; faults?: readonly PolicyFault[] } {
	const result = loadPolicy(text, "checkout.yaml", {}, version);
	return result.ok ? { snapshot: result.snapshot } : { faults: result.faults };
}

/** The view as a sidecar would give it. */
export class View implements AdminView {
	readonly clock = new FakeClock();
	ready: Readiness = { ready: true, reasons: [] };
	text = POLICY;
	running: RunningPolicy;
	drains = 0;
	level: LogLevel = "info";
	rateLimits: readonly LimiterView[] = [];
	readonly feed = new EventFeed({ service: "checkout", instance: "a1", ids: new IdSource(), clock: this.clock });
	readonly faults = new FaultBook({ clock: this.clock, rng: seededRng(1), feed: this.feed });
	readonly tap = new TapHub(this.clock);
	readonly ring = new FailureRing();
	readonly store = new TraceStore();
	readonly breakers: BreakerSet;
	readonly #exposition = new Exposition([meshSource(this)]);

	constructor() {
		const { snapshot } = load(POLICY, 1);
		const breaker = snapshot?.upstreams.get("payments")?.circuitBreaker;
		if (snapshot === undefined || breaker === undefined) throw new Error("the policy of this test is wrong");
		this.running = { snapshot, appliedAtMs: Date.UTC(2026, 0, 1), rejected: undefined, reloads: { applied: 0, unchanged: 0, rejected: 0 } };
		this.breakers = new BreakerSet(breaker, { clock: this.clock, rng: seededRng(1), onTransition: () => {} });
		this.breakers.of(ENDPOINT);
		this.faults.applyPolicy(snapshot);
	}

	readiness(): Readiness {
		return this.ready;
	}

	policy(): RunningPolicy {
		return this.running;
	}

	listeners(): ReturnType<AdminView["listeners"]> {
		return [{ name: "outbound", address: "127.0.0.1:15001", open: 3, accepted: 9, refused: 1 }];
	}

	upstreams(): ReturnType<AdminView["upstreams"]> {
		const counts = { sent: 7, refused: 2, notReplayable: 1, suppressed: 0, late: 0, hedgesSent: 3, hedgesWon: 1, hedgesRefused: 4 };
		const common = { loadBalancing: "round-robin", resolved: true, panic: false, panicPicks: 0, retryBudget: { balance: 100 }, retries: counts };
		const endpoint = {
			address: ENDPOINT,
			weight: 1,
			zone: undefined,
			health: "unhealthy",
			activeRequests: 2,
			requests: 40,
			pool: { open: 4, idle: 2, pending: 0, connects: 7, connectFailures: 1, overflows: 0 },
			ejected: true,
			ejections: { consecutive_failures: 2 },
			ejectedFor: "5 failures in a row, the last one a 503",
			ejectionEndsInMs: 30_000,
			latencyMs: 12,
		} as const;
		const breakers = Array.from(this.breakers.all(), ([key, breaker]) => ({ scope: this.breakers.scope, key, ...breaker.view() }));
		const concurrency = { limit: 64, active: 2, pending: 1 };
		return [
			{ ...common, name: "payments", endpoints: [endpoint], breakers, concurrency, panic: true, panicPicks: 11 },
			{ ...common, name: "ledger", endpoints: [], breakers: [], concurrency: undefined },
		];
	}

	forceBreaker(upstream: string, mode: BreakerMode, key?: string): "done" | "no_upstream" | "no_breaker" {
		if (upstream === "ledger") return "no_breaker";
		if (upstream !== "payments") return "no_upstream";
		return this.breakers.force(mode, key) ? "done" : "no_breaker";
	}

	limits(): readonly LimiterView[] {
		return this.rateLimits;
	}

	failures(): readonly DecisionTrace[] {
		return this.ring.list();
	}

	trace(id: string): DecisionTrace | undefined {
		return this.store.get(id);
	}

	async reload(): Promise<ReloadResult> {
		const { snapshot, faults } = load(this.text, this.running.snapshot.version + 1);
		if (snapshot === undefined) {
			this.running = { ...this.running, rejected: { atMs: Date.UTC(2026, 0, 2), faults: faults ?? [] } };
			return { kind: "rejected", faults: faults ?? [] };
		}
		this.running = { ...this.running, snapshot, rejected: undefined };
		return { kind: "applied", version: snapshot.version, hash: snapshot.hash };
	}

	drain(): void {
		this.drains++;
	}

	setLogLevel(level: LogLevel): void {
		this.level = level;
	}

	metricsText(): Promise<string> {
		return this.#exposition.text();
	}

	subscribeEvents(listener: Parameters<AdminView["subscribeEvents"]>[0]): () => void {
		return this.feed.subscribe(listener);
	}
}

export interface Answer {
	readonly status: number;
	readonly headers: IncomingMessage["headers"];
	readonly text: string;
	/** Empty where it is no JSON. */
	readonly json: Record<string, unknown>;
}

export interface Rig {
	readonly view: View;
	readonly api: AdminApi;
	readonly server: HttpServer;
	/** `body`: an object is sent as JSON, text and bytes as they are. */
	call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
}

export async function rig(t: TestContext): Promise<Rig> {
	const view = new View();
	const api = new AdminApi({ view, clock: view.clock });
	const handler = api.handle.bind(api);
	const server = await startHttpServer({ listen: { host: "127.0.0.1", port: 0 }, handler, log: silentLogger, drainTimeoutMs: 1000 });
	t.after(async () => {
		api.closeStreams();
		view.faults.stop();
		view.breakers.dispose();
		await server.close();
	});
	const call: Rig["call"] = async (method, path, body, headers = {}) => {
		const req = request({ host: "127.0.0.1", port: server.address.port, method, path, headers, agent: false });
		// A body that is refused is cut off under the feet of who sends it; the answer is there all the same.
		req.on("error", () => {});
		req.end(body === undefined || typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body));
		const [res] = (await once(req, "response")) as [IncomingMessage];
		let text = "";
		for await (const chunk of res.setEncoding("utf8")) text += chunk;
		const isJson = /json/.test(res.headers["content-type"] ?? "") && text !== "";
		return { status: res.statusCode ?? 0, headers: res.headers, text, json: isJson ? JSON.parse(text) : {} };
	};
	return { view, api, server, call };
}
