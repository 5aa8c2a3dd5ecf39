/**
 * The ports and upstreams of the running policy. `apply` is the one place where a snapshot becomes live: new ports are bound first,
 * so that a port that cannot be had leaves everything as it was; then upstreams change, then the stacks are swapped, one reference each.
 */
import { messageOf } from "../core/errors.ts";
import type { IdSource } from "../core/ids.ts";
import type { LimiterRegistry } from "../limits/limiter-registry.ts";
import type { TrafficRegistry } from "../metrics/traffic.ts";
import { APPLICATION_OUTLIER, defaultLimits, defaultUpstream } from "../policy/compile.ts";
import type { SnapshotDiff } from "../policy/diff.ts";
import { OutboundRouting, type Routed } from "../policy/outbound-routing.ts";
import type { Address, InboundPolicy, ListenerLimits, OutboundPolicy, Place, Snapshot, UpstreamPolicy } from "../policy/snapshot.ts";
import { Upstream, type UpstreamOptions } from "../upstream/upstream.ts";
import type { Stack } from "./exchange/stack.ts";
import type { MeshIdentity } from "./identity/mesh-identity.ts";
import type { AuthorizationObserver } from "./inbound/authorization.ts";
import { InboundStack } from "./inbound/stack.ts";
import { LimitPlaces } from "./limits/limit-places.ts";
import { Passthrough } from "./outbound/passthrough.ts";
import { type OutboundOptions, OutboundStack } from "./outbound/stack.ts";
import { Port, type PortDeps } from "./port.ts";
import { Targets } from "./targets.ts";
import type { PlaneTls } from "./tls/plane-tls.ts";
import { UpstreamSet, type UpstreamSetDeps } from "./upstream-set.ts";

export interface DataPlaneDeps extends PortDeps, Omit<UpstreamSetDeps, "encryptionOf"> {
	readonly traffic: TrafficRegistry;
	readonly limits: LimiterRegistry;
	readonly ids: IdSource;
	readonly isAdminPort: (port: number) => boolean;
	readonly authorizationObserver: AuthorizationObserver;
	/** Undefined where the policy has none. */
	readonly identity: () => MeshIdentity | undefined;
}

/** What a policy asks for and the system does not give: a port, a file. */
export interface BindFault {
	readonly place: Place;
	readonly message: string;
	/** Of the key; `listen` where nothing is said. */
	readonly path?: string;
	/** About ports where nothing is said. */
	readonly hint?: string;
}

interface LivePort {
	readonly port: Port;
	/** As the policy says it. */
	readonly address: string;
	readonly boundPort: number;
}

/** A port as the policy wants it. */
interface WantedPort {
	readonly name: string;
	readonly listen: Address & { kind: "tcp" };
	readonly place: Place;
	readonly stack: Stack;
}

const INBOUND = "inbound";
const OUTBOUND = "outbound";

export class DataPlane {
	readonly #deps: DataPlaneDeps;
	readonly upstreams: UpstreamSet;
	readonly targets: Targets;
	#ports = new Map<string, LivePort>();
	/** Old ports of replaced addresses, until their last connection is closed. */
	readonly #retired = new Set<Port>();
	#application: Upstream | undefined;
	#passthrough: Passthrough | undefined;
	/** Until a policy speaks of TLS there is none. */
	#tls: PlaneTls | undefined;

	constructor(deps: DataPlaneDeps) {
		this.#deps = deps;
		this.upstreams = new UpstreamSet({ ...deps, encryptionOf: (policy) => this.#tls?.encryptionOf(policy) });
		this.targets = new Targets({ ...deps, upstream: (name) => this.upstreams.get(name) });
	}

	ports(): Iterable<Port> {
		return [...this.#ports.values()].map(({ port }) => port);
	}

	/** The application behind the inbound port, while there is one. */
	get application(): Upstream | undefined {
		return this.#application;
	}

	/** Callers that are connected in plain text. */
	get plaintextOpen(): number {
		return this.#ports.get(INBOUND)?.port.plaintextOpen ?? 0;
	}

	get inFlight(): number {
		let count = 0;
		for (const port of this.ports()) count += port.inFlight;
		return count;
	}

	/** All or nothing: with faults, nothing has changed. */
	async apply(next: Snapshot, diff: SnapshotDiff | undefined): Promise<readonly BindFault[]> {
		const unusable = await this.#prepareTls(next);
		if (unusable.length > 0) return unusable;
		const limits = new LimitPlaces();
		const wanted = this.#wantedPorts(next, limits);
		const bound = new Map<string, LivePort>();
		const faults: BindFault[] = [];
		for (const { name, listen, place, stack } of wanted) {
			const address = `${listen.host}:${listen.port}`;
			if (this.#ports.get(name)?.address === address) continue;
			const port = new Port(name, listen, stack, this.#deps);
			// Before it listens: no connection may slip in as plain text.
			if (name === INBOUND) port.setTls(this.#tls?.inbound(next));
			try {
				await port.start();
				bound.set(name, { port, address, boundPort: port.port });
			} catch (error) {
				faults.push({ place, message: messageOf(error) });
			}
		}
		if (faults.length > 0) {
			for (const { port } of bound.values()) await port.close(0);
			return faults;
		}
		limits.fill(next, this.#deps.limits);
		this.upstreams.apply(next, diff);
		if (next.inbound !== undefined && this.#application !== undefined) {
			this.#application.configure(applicationOptions(next.inbound));
			this.#application.setEndpoints([{ address: next.inbound.application, weight: 1, zone: undefined }]);
		}
		const routes = new Set(next.outbound?.routes.map(({ name }) => name));
		for (const upstream of this.upstreams.all()) upstream.guards.retainRoutes(routes);
		this.#swap(wanted, bound, next);
		return [];
	}

	/** Inbound first: outbound stays open while requests that came in may still need it. Resolves with how many exchanges were cut. */
	async close(timeoutMs: number): Promise<number> {
		const deadlineMs = this.#deps.clock.monotonicMs() + timeoutMs;
		const inbound = this.#ports.get(INBOUND)?.port;
		let cut = inbound === undefined ? 0 : await inbound.close(timeoutMs);
		const left = Math.max(0, deadlineMs - this.#deps.clock.monotonicMs());
		const others = [...this.ports(), ...this.#retired].filter((port) => port !== inbound);
		for (const count of await Promise.all(others.map((port) => port.close(left)))) cut += count;
		this.upstreams.close();
		this.#application?.destroy();
		this.#passthrough?.destroy();
		return cut;
	}

	/** No new requests from others; outbound goes on. */
	drainInbound(): void {
		this.#ports.get(INBOUND)?.port.drain();
	}

	#swap(wanted: readonly WantedPort[], bound: ReadonlyMap<string, LivePort>, next: Snapshot): void {
		const ports = new Map<string, LivePort>();
		for (const { name, stack } of wanted) {
			const live = bound.get(name) ?? this.#ports.get(name);
			if (live === undefined) continue;
			live.port.setStack(stack);
			// Of a port that is being replaced: what it still carries keeps no right that this policy does not give.
			const before = this.#ports.get(name);
			if (before !== undefined && before.port !== live.port) before.port.setStack(stack);
			if (name === INBOUND) live.port.setTls(this.#tls?.inbound(next));
			ports.set(name, live);
		}
		for (const [name, { port }] of this.#ports) if (ports.get(name)?.port !== port) this.#retire(port, next.drainTimeoutMs);
		this.#ports = ports;
	}

	async #prepareTls(next: Snapshot): Promise<readonly BindFault[]> {
		const identity = this.#deps.identity();
		const needed = identity !== undefined || [...next.upstreams.values()].some(({ tls }) => tls.kind !== "off");
		if (needed && this.#tls === undefined)
			this.#tls = new (await import("./tls/plane-tls.ts")).PlaneTls(this.#deps.tlsObserver, identity, this.#deps.clock);
		return this.#tls?.prepare(next) ?? [];
	}

	#retire(port: Port, timeoutMs: number): void {
		this.#retired.add(port);
		void port.close(timeoutMs).then(() => this.#retired.delete(port));
	}

	#wantedPorts(next: Snapshot, limits: LimitPlaces): WantedPort[] {
		const wanted: WantedPort[] = [];
		const { inbound, outbound } = next;
		if (inbound !== undefined) {
			wanted.push({ name: INBOUND, listen: inbound.listen, place: inbound.place, stack: this.#inboundStack(next, inbound, limits) });
		}
		if (outbound !== undefined) {
			wanted.push({ name: OUTBOUND, listen: outbound.listen, place: outbound.place, stack: this.#outboundStack(next, outbound, limits) });
		}
		for (const policy of next.upstreams.values()) {
			if (policy.listen === undefined) continue;
			wanted.push({ name: policy.name, listen: policy.listen, place: policy.place, stack: this.#upstreamStack(next, policy, limits) });
		}
		return wanted;
	}

	#inboundStack(next: Snapshot, inbound: InboundPolicy, limits: LimitPlaces): Stack {
		const { traffic, ids, authorizationObserver } = this.#deps;
		const upstream = this.#application ?? new Upstream(applicationOptions(inbound), this.#deps);
		this.#application = upstream;
		return new InboundStack({
			service: next.service,
			trustDomain: next.trustDomain,
			self: this.#deps.identity()?.self.uri ?? "",
			limits: inbound.limits,
			trustedProxies: inbound.trustedProxies,
			authorization: inbound.authorization,
			authorizationObserver,
			refused: traffic.counters("inbound", "", ""),
			application: () => this.targets.application(inbound, upstream, limits),
			ids,
			policyVersion: next.version,
			traceAllowed: next.traceAllowed,
		});
	}

	#outboundStack(next: Snapshot, outbound: OutboundPolicy, limits: LimitPlaces): Stack {
		const { service } = next;
		const routing = new OutboundRouting(outbound.routes, next.upstreams.keys(), { service, rng: this.#deps.rng });
		return this.#callerStack(next, outbound.limits, limits, routing, outbound.passthrough ? this.#passthroughOf() : undefined);
	}

	/** A port of its own for one upstream: no Host needed, no route asked. */
	#upstreamStack(next: Snapshot, policy: UpstreamPolicy, limits: LimitPlaces): Stack {
		const routed: Routed = { route: undefined, upstream: policy.name };
		const routing = { decide: () => routed, draw: () => undefined };
		return this.#callerStack(next, next.outbound?.limits ?? defaultLimits().limits, limits, routing, undefined);
	}

	#callerStack(
		next: Snapshot,
		limits: ListenerLimits,
		rates: LimitPlaces,
		routing: OutboundOptions["routing"],
		passthrough: Passthrough | undefined,
	): Stack {
		const { traffic, ids, rng } = this.#deps;
		return new OutboundStack({
			service: next.service,
			limits,
			refused: traffic.counters("outbound", "", ""),
			routing,
			targetOf: (route, name) => {
				const policy = next.upstreams.get(name);
				return policy && this.targets.outbound(route, policy, rates);
			},
			countersOf: (route) => traffic.counters("outbound", route, ""),
			passthrough,
			ids,
			rng,
			policyVersion: next.version,
			traceAllowed: next.traceAllowed,
		});
	}

	/** One for the life of the process: its pools survive reloads. */
	#passthroughOf(): Passthrough {
		this.#passthrough ??= new Passthrough({
			upstream: defaultUpstream(),
			counters: this.#deps.traffic.counters("outbound", "", "passthrough"),
			isOwnPort: (port) => this.#isOwnPort(port),
			create: (options) => new Upstream(options, this.#deps),
		});
		return this.#passthrough;
	}

	/** As bound, not as asked for: a policy may leave the choice to the system. */
	#isOwnPort(port: number): boolean {
		for (const { boundPort } of this.#ports.values()) if (boundPort === port) return true;
		return this.#deps.isAdminPort(port);
	}
}

function applicationOptions(inbound: InboundPolicy): UpstreamOptions {
	const { timeout, pool, circuitBreaker, concurrency } = inbound;
	const { balancing, retryBudget } = defaultUpstream();
	return {
		name: "application",
		loadBalancing: "round-robin",
		balancing,
		timeout,
		pool,
		guards: { circuitBreaker, concurrency, outlierDetection: APPLICATION_OUTLIER, retryBudget },
		checked: false,
		holdWhileRefused: true,
		zone: undefined,
	};
}
