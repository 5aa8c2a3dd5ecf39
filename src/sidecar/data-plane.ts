/**
 * The ports and upstreams of the running policy. `apply` is the one place where a snapshot becomes live: new ports are bound first,
 * so that a port that cannot be had leaves everything as it was; then upstreams change, then the stacks are swapped, one reference each.
 */
import { messageOf } from "../core/errors.ts";
import type { IdSource } from "../core/ids.ts";
import type { Direction, TrafficRegistry } from "../metrics/traffic.ts";
import { defaultLimits } from "../policy/compile.ts";
import type { SnapshotDiff } from "../policy/diff.ts";
import { OutboundRouting, type Routed } from "../policy/outbound-routing.ts";
import type { Address, InboundPolicy, ListenerLimits, OutboundPolicy, Place, Snapshot, UpstreamPolicy } from "../policy/snapshot.ts";
import { Upstream, type UpstreamOptions } from "../upstream/upstream.ts";
import type { Stack, Target } from "./exchange/stack.ts";
import { InboundStack } from "./inbound/stack.ts";
import { Passthrough } from "./outbound/passthrough.ts";
import { OutboundStack } from "./outbound/stack.ts";
import { Port, type PortDeps } from "./port.ts";
import { UpstreamSet, type UpstreamSetDeps } from "./upstream-set.ts";

export interface DataPlaneDeps extends PortDeps, UpstreamSetDeps {
	readonly traffic: TrafficRegistry;
	readonly ids: IdSource;
	readonly isAdminPort: (port: number) => boolean;
}

/** A port that could not be bound. */
export interface BindFault {
	readonly place: Place;
	readonly message: string;
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
	#ports = new Map<string, LivePort>();
	/** Old ports of replaced addresses, until their last connection is closed. */
	readonly #retired = new Set<Port>();
	#application: Upstream | undefined;
	#passthrough: Passthrough | undefined;

	constructor(deps: DataPlaneDeps) {
		this.#deps = deps;
		this.upstreams = new UpstreamSet(deps);
	}

	ports(): Iterable<Port> {
		return [...this.#ports.values()].map(({ port }) => port);
	}

	/** The application behind the inbound port, while there is one. */
	get application(): Upstream | undefined {
		return this.#application;
	}

	get inFlight(): number {
		let count = 0;
		for (const port of this.ports()) count += port.inFlight;
		return count;
	}

	/** All or nothing: with faults, nothing has changed. */
	async apply(next: Snapshot, diff: SnapshotDiff | undefined): Promise<readonly BindFault[]> {
		const wanted = this.#wantedPorts(next);
		const bound = new Map<string, LivePort>();
		const faults: BindFault[] = [];
		for (const { name, listen, place, stack } of wanted) {
			const address = `${listen.host}:${listen.port}`;
			if (this.#ports.get(name)?.address === address) continue;
			const port = new Port(name, listen, stack, this.#deps);
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
		this.upstreams.apply(next, diff);
		if (next.inbound !== undefined && this.#application !== undefined) {
			this.#application.configure(applicationOptions(next.inbound));
			this.#application.setEndpoints([{ address: next.inbound.application, weight: 1, zone: undefined }]);
		}
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
			ports.set(name, live);
		}
		for (const [name, { port }] of this.#ports) if (ports.get(name)?.port !== port) this.#retire(port, next.drainTimeoutMs);
		this.#ports = ports;
	}

	#retire(port: Port, timeoutMs: number): void {
		this.#retired.add(port);
		void port.close(timeoutMs).then(() => this.#retired.delete(port));
	}

	#wantedPorts(next: Snapshot): WantedPort[] {
		const wanted: WantedPort[] = [];
		const { inbound, outbound } = next;
		if (inbound !== undefined) {
			wanted.push({ name: INBOUND, listen: inbound.listen, place: inbound.place, stack: this.#inboundStack(next, inbound) });
		}
		if (outbound !== undefined) {
			wanted.push({ name: OUTBOUND, listen: outbound.listen, place: outbound.place, stack: this.#outboundStack(next, outbound) });
		}
		for (const policy of next.upstreams.values()) {
			if (policy.listen === undefined) continue;
			wanted.push({ name: policy.name, listen: policy.listen, place: policy.place, stack: this.#upstreamStack(next, policy) });
		}
		return wanted;
	}

	#inboundStack(next: Snapshot, inbound: InboundPolicy): Stack {
		const { traffic, ids } = this.#deps;
		this.#application ??= new Upstream(applicationOptions(inbound), this.#deps);
		return new InboundStack({
			service: next.service,
			limits: inbound.limits,
			trustedProxies: inbound.trustedProxies,
			refused: traffic.counters("inbound", "", ""),
			application: this.#target("inbound", "", this.#application, undefined),
			ids,
		});
	}

	#outboundStack(next: Snapshot, outbound: OutboundPolicy): Stack {
		const routing = new OutboundRouting(outbound.routes, next.upstreams.keys());
		return this.#callerStack(next, outbound.limits, routing, outbound.passthrough ? this.#passthroughOf() : undefined);
	}

	/** A port of its own for one upstream: no Host needed, no route asked. */
	#upstreamStack(next: Snapshot, policy: UpstreamPolicy): Stack {
		const routed: Routed = { route: undefined, upstream: policy.name };
		return this.#callerStack(next, next.outbound?.limits ?? defaultLimits().limits, { decide: () => routed }, undefined);
	}

	#callerStack(next: Snapshot, limits: ListenerLimits, routing: Pick<OutboundRouting, "decide">, passthrough: Passthrough | undefined): Stack {
		const { traffic, ids } = this.#deps;
		return new OutboundStack({
			service: next.service,
			limits,
			refused: traffic.counters("outbound", "", ""),
			routing,
			targetOf: ({ route, upstream: name }) => {
				const upstream = this.upstreams.get(name);
				return upstream === undefined ? undefined : this.#target("outbound", route?.name ?? "", upstream, route?.rewriteHost);
			},
			passthrough,
			ids,
		});
	}

	#target(direction: Direction, route: string, upstream: Upstream, rewriteHost: string | undefined): Target {
		return { kind: "target", route, upstream, counters: this.#deps.traffic.counters(direction, route, upstream.name), rewriteHost };
	}

	/** One for the life of the process: its pools survive reloads. */
	#passthroughOf(): Passthrough {
		this.#passthrough ??= new Passthrough({
			...defaultLimits(),
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
	const { timeout, pool } = inbound;
	return { name: "application", loadBalancing: "round-robin", timeout, pool, checked: false, holdWhileRefused: true };
}
