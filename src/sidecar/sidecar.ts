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
import type { LimiterRegistry } from "../limits/limiter-registry.ts";
import { TrafficRegistry } from "../metrics/traffic.ts";
import { trafficSource } from "../metrics/traffic-source.ts";
import { LoopMemory } from "../net/loop-memory.ts";
import { Handshakes } from "../net/tls-handshakes.ts";
import type { DecisionTrace } from "../policy/decision-trace.ts";
import type { SnapshotDiff } from "../policy/diff.ts";
import type { Env } from "../policy/env.ts";
import type { PolicyFault } from "../policy/fault.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { type HttpServer, startHttpServer } from "../server/http-server.ts";
import { Exposition } from "../telemetry/exposition.ts";
import type { Log } from "../telemetry/log.ts";
import { processSource } from "../telemetry/process-metrics.ts";
import { AdminApi } from "./admin/admin-api.ts";
import { meshSource, upstreamView } from "./admin/mesh-source.ts";
import type { AdminView, BreakerMode, ListenerView, Readiness, ReloadResult, RunningPolicy, TlsView, UpstreamView } from "./admin/view.ts";
import { type BindFault, DataPlane } from "./data-plane.ts";
import { ExchangeTracing, type SpanMaker } from "./exchange/exchange-tracing.ts";
import type { Tries } from "./exchange/tries.ts";
import { VainRetries } from "./exchange/vain-retries.ts";
import { FaultBook } from "./faults.ts";
import type { IdentityKeeper } from "./identity/identity-keeper.ts";
import type { IdentityStatus } from "./identity/identity-status.ts";
import type { MeshIdentity } from "./identity/mesh-identity.ts";
import { openLimits } from "./limits/open-limits.ts";
import { PolicyKeeper } from "./policy-keeper.ts";
import { bindFaults } from "./reload-report.ts";
import { NexusControl } from "./remote-policy/nexus-control.ts";
import { AuthorizationEvents } from "./telling/authorization-events.ts";
import { EventFeed } from "./telling/event-feed.ts";
import { GuardEvents } from "./telling/guard-events.ts";
import { tellingSource } from "./telling/metrics.ts";
import { TlsEvents } from "./telling/tls-events.ts";
import { tlsSource } from "./telling/tls-metrics.ts";
import { Telling } from "./telling.ts";
import { copiesSource } from "./traffic-copies.ts";

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

/** Between two looks at whether all is ready. */
const READY_LOOK_MS = 20;

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
	readonly #tlsEvents: TlsEvents;
	readonly #authorization: AuthorizationEvents;
	readonly #handshakes: Handshakes;
	readonly #plane: DataPlane;
	#keeper: IdentityKeeper | undefined;
	#identity: MeshIdentity | undefined;
	readonly #api: AdminApi;
	#admin: HttpServer | undefined;
	readonly #policy: PolicyKeeper;
	readonly #control: NexusControl;
	readonly #spanMaker: SpanMaker;
	#phase: Phase = "starting";
	#wasReady = false;

	/** `service` names the events' source; it cannot change while the process lives. */
	constructor(service: string, options: SidecarOptions) {
		const { clock, rng, log, version } = options;
		this.#options = options;
		const ids = new IdSource();
		this.#wheel = new DeadlineWheel(clock);
		this.#lifecycle.onClose("deadlines", () => this.#wheel.stop());
		const instance = `${hostname()}-${process.pid}`;
		this.#feed = new EventFeed({ service, instance, ids, clock });
		const telling = { clock, rng, log, feed: this.#feed, traffic: this.#traffic, identity: () => this.#identity };
		this.#telling = new Telling(
			options.accessLogDestination === undefined ? telling : { ...telling, accessLogDestination: options.accessLogDestination },
		);
		this.#tracing = new ExchangeTracing(clock, service);
		this.#spanMaker = { service, instance, version, clock, rng, ids, log };
		this.#policy = new PolicyKeeper({
			...options,
			feed: this.#feed,
			apply: (next, diff) => this.#apply(next, diff),
			isClosing: () => this.#isClosing(),
		});
		this.#control = new NexusControl({ service, instance, version, clock, rng, log, identity: () => this.#identity });
		this.faults = new FaultBook({ clock, rng, feed: this.#feed });
		this.#limits = openLimits({ service, clock, rng, log, feed: this.#feed });
		const hedges = new DueQueue<Tries>(clock, (tries, token) => tries.hedge(token));
		this.#lifecycle.onClose("hedges", () => hedges.stop());
		const identities = { self: () => this.#identity?.self.uri ?? "", expected: (upstream: string) => this.#expected(upstream) };
		this.#tlsEvents = new TlsEvents({ clock, log, feed: this.#feed, identities });
		this.#handshakes = new Handshakes(clock);
		this.#authorization = new AuthorizationEvents({ clock, log, feed: this.#feed });
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
			authorizationObserver: this.#authorization,
			isAdminPort: (port) => port === this.#admin?.address.port,
			identity: () => this.#identity,
			registry: this.#control,
			handshakes: this.#handshakes,
			tlsObserver: this.#tlsEvents,
		});
		this.#api = new AdminApi({ view: this, clock });
		this.#exposition = new Exposition([
			trafficSource(this.#traffic),
			processSource(version),
			meshSource(this),
			tellingSource(() => this.#telling.parts),
			tlsSource(this),
			this.#authorization.source,
			copiesSource(this.#plane.targets, this.#tracing),
		]);
	}

	/** Binds everything. With faults nothing is left open. Rejects where the admin address cannot be had. */
	async start(snapshot: Snapshot): Promise<readonly PolicyFault[]> {
		const { clock, log, version } = this.#options;
		this.#policy.begin(snapshot);
		this.#admin = await startHttpServer({
			listen: snapshot.admin.listen,
			handler: (req, res) => this.#api.handle(req, res),
			log,
			clock,
			wheel: this.#wheel,
			shared: this.#shared,
		});
		await this.#takeIdentity(snapshot);
		if (this.#isClosing()) return [];
		await this.#control.prepare(snapshot);
		await this.#control.startPolicy(snapshot, (policy) => this.#policy.take(policy));
		if (this.#isClosing()) return [];
		const faults = await this.#policy.goLive();
		if (faults.length > 0) {
			this.#phase = "closing";
			await this.#release(0);
			return bindFaults(faults);
		}
		this.#phase = "serving";
		this.#whenReady(() => {
			const listeners = Object.fromEntries(this.listeners().map(({ name, address }) => [name, address]));
			const readyMs = Math.round(clock.wallMs() - performance.timeOrigin);
			const { snapshot } = this.policy();
			void this.#list(snapshot);
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

	/** At Nexus, where the policy asks for it: once this sidecar is ready, and for as long as it takes requests. */
	async #list(snapshot: Snapshot): Promise<void> {
		if (this.#phase !== "serving" || !this.readiness().ready) return;
		await this.#control.list(snapshot, this.listeners().find(({ name }) => name === "inbound")?.address);
	}

	/** Waits for the first certificate as long as it takes: without one there is nobody to be. */
	async #takeIdentity({ identity: policy, service, trustDomain, nexus }: Snapshot): Promise<void> {
		if (policy === undefined) return;
		const { clock, rng, log } = this.#options;
		const onCut: TlsEvents["onCut"] = (refusal) => this.#tlsEvents.onCut(refusal);
		const { IdentityKeeper } = await import("./identity/identity-keeper.ts");
		this.#keeper = new IdentityKeeper({ policy, service, trustDomain, nexusUrl: nexus?.url, clock, rng, log, feed: this.#feed, onCut });
		this.#identity = await this.#keeper.start();
	}

	/** Whom an upstream is meant to be; "" where nobody knows. */
	#expected(name: string): string {
		const tls = this.policy().snapshot.upstreams.get(name)?.tls;
		return tls?.kind === "mesh" ? tls.expected : tls?.kind === "external" ? tls.serverName : "";
	}

	#isClosing(): boolean {
		return this.#phase === "closing";
	}

	/** Reads the policy file again. One reload at a time; those asked for meanwhile follow. */
	reload(): Promise<ReloadResult> {
		return this.#policy.reload();
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
		await this.#control.leave();
		const cut = await this.#release(drainTimeoutMs);
		log.info("stopped", { cut });
	}

	async #release(drainTimeoutMs: number): Promise<number> {
		const { clock, log } = this.#options;
		const cut = await this.#plane.close(drainTimeoutMs);
		this.faults.stop();
		this.#limits.stop();
		this.#keeper?.stop();
		this.#control.stop();
		this.#tlsEvents.stop();
		this.#authorization.stop();
		this.#feed.emit("nexus.mesh.sidecar.stopped", { uptimeMs: Math.round(clock.wallMs() - performance.timeOrigin), cut });
		await Promise.all([this.#telling.close(), this.#tracing.close()]);
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
		return this.#policy.running;
	}

	listeners(): readonly ListenerView[] {
		const views = Array.from(this.#plane.ports(), (port) => ({ name: port.name, address: port.address, ...port.stats }));
		if (this.#admin === undefined) return views;
		const { address, refused } = this.#admin;
		return [{ name: "admin", address: `${address.host}:${address.port}`, open: 0, accepted: 0, refused: refused.connections }, ...views];
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

	tls(): TlsView {
		return { report: this.#tlsEvents.report(), handshakes: this.#handshakes.stats, plaintextOpen: this.#plane.plaintextOpen };
	}

	limits(): readonly LimiterView[] {
		return this.#limits.views();
	}

	identity(): IdentityStatus | undefined {
		return this.#keeper?.status();
	}

	dryRuns(): ReturnType<AuthorizationEvents["dryRuns"]> {
		return this.#authorization.dryRuns();
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
		void this.#control.leave().then(() => this.#plane.drainInbound());
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

	/** Makes a policy live; with faults nothing has changed. */
	async #apply(next: Snapshot, diff: SnapshotDiff | undefined): Promise<readonly BindFault[]> {
		await this.#control.prepare(next);
		const unusable = await this.#telling.prepare(next);
		if (unusable.length > 0) return unusable;
		const faults = await this.#plane.apply(next, diff);
		if (faults.length > 0) {
			await this.#telling.abandon();
			return faults;
		}
		// Before a request is judged by it.
		this.#authorization.adopt(next.inbound?.authorization);
		await Promise.all([this.#telling.apply(next), this.#tracing.apply(next.tracing, this.#spanMaker), this.#limits.ready()]);
		this.faults.applyPolicy(next);
		if (this.#wasReady) void this.#list(next);
		return [];
	}

	// --- readiness

	#reasonsNotReady(): string[] {
		switch (this.#phase) {
			case "starting": {
				const waiting = [...(this.#keeper?.notReady() ?? []), ...this.#control.notReady()];
				return waiting.length > 0 ? waiting : ["listeners are not bound yet"];
			}
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
