/** A sidecar put together: policy file, data plane, telling, admin API; one object that starts, reloads and drains. */
import { hostname } from "node:os";
import type { Clock } from "../core/clock.ts";
import { DeadlineWheel } from "../core/deadline-wheel.ts";
import { DueQueue } from "../core/due-queue.ts";
import { IdSource } from "../core/ids.ts";
import { Lifecycle } from "../core/lifecycle.ts";
import type { Rng } from "../core/rng.ts";
import type { CloudEvent } from "../events/cloud-event.ts";
import type { LimiterView } from "../limits/limited.ts";
import { LimiterRegistry } from "../limits/limiter-registry.ts";
import { TrafficRegistry } from "../metrics/traffic.ts";
import { trafficSource } from "../metrics/traffic-source.ts";
import { LoopMemory } from "../net/loop-memory.ts";
import type { DecisionTrace } from "../policy/decision-trace.ts";
import { diffSnapshots } from "../policy/diff.ts";
import type { Env } from "../policy/env.ts";
import { placeText } from "../policy/explain.ts";
import type { PolicyFault } from "../policy/fault.ts";
import { loadPolicyFile } from "../policy/load-file.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { type HttpServer, startHttpServer } from "../server/http-server.ts";
import { Exposition } from "../telemetry/exposition.ts";
import type { Log } from "../telemetry/log.ts";
import { processSource } from "../telemetry/process-metrics.ts";
import { AdminApi } from "./admin/admin-api.ts";
import { meshSource, upstreamView } from "./admin/mesh-source.ts";
import type { AdminView, BreakerMode, ListenerView, Readiness, ReloadResult, RunningPolicy, UpstreamView } from "./admin/view.ts";
import { DataPlane } from "./data-plane.ts";
import { ExchangeTracing } from "./exchange/exchange-tracing.ts";
import type { Tries } from "./exchange/tries.ts";
import { VainRetries } from "./exchange/vain-retries.ts";
import { FaultBook } from "./faults.ts";
import { RedisStores } from "./limits/redis-stores.ts";
import { bindFaults, changedNames, notReloadable } from "./reload-report.ts";
import { EventFeed } from "./telling/event-feed.ts";
import { GuardEvents } from "./telling/guard-events.ts";
import { tellingSource } from "./telling/metrics.ts";
import { Telling } from "./telling.ts";

export interface SidecarOptions {
	readonly configFile: string;
	readonly env: Env;
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Log;
	/** Of the program. */
	readonly version: string;
	/** A descriptor or a path; default standard output. */
	readonly accessLogDestination?: number | string;
}

/** serving -> inbound-drained (POST /drain) -> closing; a sidecar never goes back. */
type Phase = "starting" | "serving" | "inbound-drained" | "closing";

export class Sidecar implements AdminView {
	readonly #options: SidecarOptions;
	readonly #lifecycle = new Lifecycle();
	readonly #wheel: DeadlineWheel;
	readonly #shared = new LoopMemory();
	readonly #traffic = new TrafficRegistry();
	readonly #exposition: Exposition;
	readonly #feed: EventFeed;
	readonly #telling: Telling;
	readonly #tracing: ExchangeTracing;
	readonly #limits: LimiterRegistry;
	readonly faults: FaultBook;
	readonly #plane: DataPlane;
	readonly #api: AdminApi;
	#admin: HttpServer | undefined;
	#policy: RunningPolicy | undefined;
	#phase: Phase = "starting";
	#wasReady = false;
	#reloading: Promise<unknown> = Promise.resolve();

	/** `service` names the events' source; it cannot change while the process lives. */
	constructor(service: string, options: SidecarOptions) {
		const { clock, rng, log, version } = options;
		this.#options = options;
		const ids = new IdSource();
		this.#wheel = new DeadlineWheel(clock);
		this.#lifecycle.onClose("deadlines", () => this.#wheel.stop());
		this.#feed = new EventFeed({ service, instance: `${hostname()}-${process.pid}`, ids, clock });
		const telling = { clock, rng, log, feed: this.#feed, traffic: this.#traffic };
		this.#telling = new Telling(
			options.accessLogDestination === undefined ? telling : { ...telling, accessLogDestination: options.accessLogDestination },
		);
		this.#tracing = new ExchangeTracing(clock);
		this.#tracing.service = service;
		this.faults = new FaultBook({ clock, rng, feed: this.#feed });
		this.#limits = new LimiterRegistry({
			clock,
			rng,
			service,
			stores: new RedisStores({
				clock,
				rng,
				onState: (store, available, detail) => {
					if (available) log.info("shared rate limits are back", { store });
					else log.warn("shared rate limits are away", { store, error: detail });
				},
			}),
			onExceeded: (rollup) => this.#feed.emit("nexus.mesh.rate_limit.exceeded", rollup, rollup.limit),
		});
		const hedges = new DueQueue<Tries>(clock, (tries, token) => tries.hedge(token));
		this.#lifecycle.onClose("hedges", () => hedges.stop());
		this.#plane = new DataPlane({
			clock,
			rng,
			log,
			wheel: this.#wheel,
			ids,
			shared: this.#shared,
			observer: this.#telling,
			traffic: this.#traffic,
			feed: this.#feed,
			faults: this.faults,
			limits: this.#limits,
			tracing: this.#tracing,
			hedges,
			vain: new VainRetries(),
			guardObserver: new GuardEvents({ service, clock, log, feed: this.#feed }),
			isAdminPort: (port) => port === this.#admin?.address.port,
		});
		this.#api = new AdminApi({ view: this, clock });
		this.#exposition = new Exposition([
			trafficSource(this.#traffic),
			processSource(version),
			meshSource(this),
			tellingSource(() => this.#telling.parts),
		]);
	}

	/** Binds everything. With faults nothing is left open. Rejects where the admin address cannot be had. */
	async start(snapshot: Snapshot): Promise<readonly PolicyFault[]> {
		const { clock, log, version } = this.#options;
		this.#policy = { snapshot, appliedAtMs: clock.wallMs(), rejected: undefined, reloads: { applied: 0, unchanged: 0, rejected: 0 } };
		this.#admin = await startHttpServer({
			listen: snapshot.admin.listen,
			handler: (req, res) => this.#api.handle(req, res),
			log,
			clock,
			wheel: this.#wheel,
			shared: this.#shared,
		});
		await this.#telling.apply(snapshot);
		this.faults.applyPolicy(snapshot);
		const faults = await this.#plane.apply(snapshot, undefined);
		if (faults.length > 0) {
			this.#phase = "closing";
			await this.#release(0);
			return bindFaults(faults);
		}
		this.#phase = "serving";
		this.#whenReady(() => {
			const listeners = Object.fromEntries(this.listeners().map(({ name, address }) => [name, address]));
			const readyMs = Math.round(clock.wallMs() - performance.timeOrigin);
			this.#feed.emit("nexus.mesh.sidecar.started", {
				version,
				pid: process.pid,
				policyVersion: snapshot.version,
				policyHash: snapshot.hash,
				listeners,
				readyMs,
			});
			log.info("ready", { policy: snapshot.hash, readyMs, ...listeners });
		});
		return [];
	}

	/** Reads the policy file again. One reload at a time; those asked for meanwhile follow. */
	reload(): Promise<ReloadResult> {
		const result = this.#reloading.then(() => this.#reload());
		// One that fails by a fault of ours must not fail all that follow.
		this.#reloading = result.catch(() => {});
		return result;
	}

	/** Ends in good order: no new work, what runs finishes within the drain timeout, then the rest is cut. Idempotent. */
	async close(cause: "signal" | "api"): Promise<void> {
		if (this.#phase === "closing") return;
		this.#phase = "closing";
		const { log } = this.#options;
		const drainTimeoutMs = this.policy().snapshot.drainTimeoutMs;
		const inFlight = this.#plane.inFlight;
		log.info("draining", { cause, inFlight, drainTimeoutMs });
		this.#feed.emit("nexus.mesh.sidecar.draining", { cause, inFlight, drainTimeoutMs });
		const cut = await this.#release(drainTimeoutMs);
		log.info("stopped", { cut });
	}

	async #release(drainTimeoutMs: number): Promise<number> {
		const { clock, log } = this.#options;
		const cut = await this.#plane.close(drainTimeoutMs);
		this.faults.stop();
		this.#limits.stop();
		this.#feed.emit("nexus.mesh.sidecar.stopped", { uptimeMs: Math.round(clock.wallMs() - performance.timeOrigin), cut });
		await this.#telling.close();
		this.#api.closeStreams();
		await this.#admin?.close();
		for (const error of await this.#lifecycle.close()) log.error(error.message);
		return cut;
	}

	// --- AdminView

	readiness(): Readiness {
		const reasons = this.#reasonsNotReady();
		return { ready: reasons.length === 0, reasons };
	}

	policy(): RunningPolicy {
		if (this.#policy === undefined) throw new Error("not started");
		return this.#policy;
	}

	listeners(): readonly ListenerView[] {
		const views = Array.from(this.#plane.ports(), (port) => ({ name: port.name, address: port.address, ...port.stats }));
		const admin = this.#admin;
		return admin === undefined
			? views
			: [
					{ name: "admin", address: `${admin.address.host}:${admin.address.port}`, open: 0, accepted: 0, refused: admin.refused.connections },
					...views,
				];
	}

	upstreams(): readonly UpstreamView[] {
		const { application, upstreams } = this.#plane;
		return [...(application === undefined ? [] : [application]), ...upstreams.all()].map((upstream) => upstreamView(upstream, this.#options.clock));
	}

	forceBreaker(name: string, mode: BreakerMode, key?: string): "done" | "no_upstream" | "no_breaker" {
		const upstream = this.#plane.application?.name === name ? this.#plane.application : this.#plane.upstreams.get(name);
		if (upstream === undefined) return "no_upstream";
		return upstream.guards.breakers?.force(mode, key) === true ? "done" : "no_breaker";
	}

	limits(): readonly LimiterView[] {
		return this.#limits.views();
	}

	get tap(): ExchangeTracing["tap"] {
		return this.#tracing.tap;
	}

	failures(): readonly DecisionTrace[] {
		return this.#tracing.failures.list();
	}

	trace(id: string): DecisionTrace | undefined {
		return this.#tracing.store.get(id);
	}

	/** Others send no more; the application's own calls go on until the process is told to end. */
	drain(): void {
		if (this.#phase !== "serving") return;
		this.#phase = "inbound-drained";
		const { drainTimeoutMs } = this.policy().snapshot;
		this.#feed.emit("nexus.mesh.sidecar.draining", { cause: "api", inFlight: this.#plane.inFlight, drainTimeoutMs });
		this.#options.log.info("inbound is draining", { cause: "api" });
		this.#plane.drainInbound();
	}

	setLogLevel(level: Log["level"]): void {
		this.#options.log.setLevel(level);
	}

	metricsText(): Promise<string> {
		return this.#exposition.text();
	}

	subscribeEvents(listener: (event: CloudEvent) => void): () => void {
		return this.#feed.subscribe(listener);
	}

	// --- reload

	async #reload(): Promise<ReloadResult> {
		const running = this.policy();
		const { configFile, env } = this.#options;
		const { result } = await loadPolicyFile(configFile, env, running.snapshot.version + 1);
		if (this.#phase === "closing") return { kind: "unchanged", version: running.snapshot.version, hash: running.snapshot.hash };
		if (!result.ok) return this.#reject(running, result.faults);
		const next = result.snapshot;
		const diff = diffSnapshots(running.snapshot, next);
		if (diff.empty) return this.#keep(running);
		const fixed = notReloadable(diff, next);
		if (fixed.length > 0) return this.#reject(running, fixed);
		const faults = await this.#plane.apply(next, diff);
		if (faults.length > 0) return this.#reject(running, bindFaults(faults));
		await this.#telling.apply(next);
		this.faults.applyPolicy(next);
		this.#policy = {
			snapshot: next,
			appliedAtMs: this.#options.clock.wallMs(),
			rejected: undefined,
			reloads: { ...running.reloads, applied: running.reloads.applied + 1 },
		};
		const changed = changedNames(diff);
		this.#feed.emit("nexus.mesh.policy.applied", { version: next.version, hash: next.hash, changed });
		this.#options.log.info("policy applied", { version: next.version, hash: next.hash, changed });
		return { kind: "applied", version: next.version, hash: next.hash };
	}

	/** Comments or layout changed, or nothing: the running snapshot stays, and an earlier rejection is settled. */
	#keep(running: RunningPolicy): ReloadResult {
		this.#policy = { ...running, rejected: undefined, reloads: { ...running.reloads, unchanged: running.reloads.unchanged + 1 } };
		return { kind: "unchanged", version: running.snapshot.version, hash: running.snapshot.hash };
	}

	/** Told once per faulty text, not once per look at it. */
	#reject(running: RunningPolicy, faults: readonly PolicyFault[]): ReloadResult {
		const told = running.rejected !== undefined && JSON.stringify(running.rejected.faults) === JSON.stringify(faults);
		this.#policy = {
			...running,
			rejected: { atMs: this.#options.clock.wallMs(), faults },
			reloads: { ...running.reloads, rejected: running.reloads.rejected + 1 },
		};
		if (!told) {
			const data = faults.map(({ place, message, hint }) => ({ place: placeText(place), message, hint }));
			this.#feed.emit("nexus.mesh.policy.rejected", { faults: data });
			this.#options.log.error("policy rejected; the last good one stays", { faults: data });
		}
		return { kind: "rejected", faults };
	}

	// --- readiness

	#reasonsNotReady(): string[] {
		switch (this.#phase) {
			case "starting":
				return ["listeners are not bound yet"];
			case "inbound-drained":
			case "closing":
				return ["draining"];
			case "serving": {
				// Once ready it stays so: a new upstream of a reload must not take a working sidecar out of rotation.
				if (this.#wasReady) return [];
				const reasons = this.#plane.upstreams.notReady();
				this.#wasReady = reasons.length === 0;
				return reasons;
			}
		}
	}

	#whenReady(then: () => void): void {
		if (this.#phase !== "serving") return;
		if (this.readiness().ready) then();
		else this.#options.clock.setTimer(READY_LOOK_MS, () => this.#whenReady(then));
	}
}

const READY_LOOK_MS = 20;
