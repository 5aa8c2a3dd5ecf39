/** The upstreams of the running policy: each with its pool, where its endpoints come from, and their checks. A reload touches what changed. */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Rng } from "../core/rng.ts";
import { HealthChecker } from "../health/checker.ts";
import { addressText } from "../policy/address-text.ts";
import type { SnapshotDiff, UpstreamPart } from "../policy/diff.ts";
import type { EndpointPolicy, Snapshot, UpstreamPolicy } from "../policy/snapshot.ts";
import { createEndpointSource } from "../upstream/discovery/create-source.ts";
import type { ServiceRegistry } from "../upstream/discovery/registry.ts";
import type { Encryption } from "../upstream/encryption.ts";
import type { EndpointSource } from "../upstream/endpoint-source.ts";
import { Upstream, type UpstreamDeps, type UpstreamOptions } from "../upstream/upstream.ts";
import type { FaultBook } from "./faults.ts";
import type { EventFeed } from "./telling/event-feed.ts";

export interface UpstreamSetDeps extends UpstreamDeps {
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger;
	readonly feed: EventFeed;
	readonly faults: FaultBook;
	/** Of `registry: nexus`. */
	readonly registry?: ServiceRegistry | undefined;
	/** Undefined: plain text. */
	readonly encryptionOf: (policy: UpstreamPolicy) => Encryption | undefined;
}

/** One upstream with what feeds it. */
interface Member {
	policy: UpstreamPolicy;
	readonly upstream: Upstream;
	source: EndpointSource;
	checker: HealthChecker | undefined;
	endpoints: readonly EndpointPolicy[];
	/** Why its endpoints are not known; a fault counts as an answer, lest a dead name server keep a service from starting. */
	fault: string | undefined;
}

export class UpstreamSet {
	readonly #deps: UpstreamSetDeps;
	readonly #members = new Map<string, Member>();
	#zone: string | undefined;

	constructor(deps: UpstreamSetDeps) {
		this.#deps = deps;
	}

	get(name: string): Upstream | undefined {
		return this.#members.get(name)?.upstream;
	}

	all(): Iterable<Upstream> {
		return [...this.#members.values()].map((member) => member.upstream);
	}

	/** Why traffic should not come yet; empty when every source has answered and every first check is in. */
	notReady(): string[] {
		const reasons: string[] = [];
		for (const { upstream, fault, policy } of this.#members.values()) {
			if (!upstream.resolved && fault === undefined) reasons.push(`upstream ${policy.name}: endpoints are not resolved yet`);
			const pending = [...upstream.endpoints()].filter((endpoint) => endpoint.health === "pending").length;
			if (pending > 0) reasons.push(`upstream ${policy.name}: first health check is not in for ${pending} of its endpoints`);
		}
		return reasons;
	}

	/** Takes over `next`. `diff` is against what runs; without one everything is new. */
	apply(next: Snapshot, diff: SnapshotDiff | undefined): void {
		const moved = this.#zone !== next.zone;
		this.#zone = next.zone;
		for (const [name, policy] of next.upstreams) {
			const member = this.#members.get(name);
			if (member === undefined) this.#add(policy);
			else {
				const change = diff?.upstreams.get(name);
				if (change?.kind === "changed") this.#change(member, policy, change.parts);
				else if (moved) member.upstream.configure({ ...member.upstream.options, zone: next.zone });
			}
		}
		for (const name of [...this.#members.keys()]) if (!next.upstreams.has(name)) this.#remove(name);
	}

	/** Ends checks and discovery, and cuts what is still connected. */
	close(): void {
		for (const member of this.#members.values()) {
			member.source.stop();
			member.checker?.stop();
			member.upstream.destroy();
		}
	}

	#add(policy: UpstreamPolicy): void {
		const upstream = new Upstream(upstreamOptions(policy, this.#zone, this.#deps.encryptionOf(policy)), this.#deps);
		upstream.faults = this.#deps.faults.injector(policy.name);
		const member: Member = { policy, upstream, source: this.#createSource(policy), checker: undefined, endpoints: [], fault: undefined };
		this.#members.set(policy.name, member);
		member.checker = this.#createChecker(member);
		this.#startSource(member);
	}

	#remove(name: string): void {
		const member = this.#members.get(name);
		if (member === undefined) return;
		this.#members.delete(name);
		member.source.stop();
		member.checker?.stop();
		member.upstream.retire();
	}

	#change(member: Member, policy: UpstreamPolicy, parts: readonly UpstreamPart[]): void {
		const checks = parts.includes("healthCheck") || parts.includes("tls");
		member.policy = policy;
		if (checks) {
			member.checker?.stop();
			member.checker = undefined;
		}
		const encryption = parts.includes("tls") ? this.#deps.encryptionOf(policy) : member.upstream.options.encryption;
		member.upstream.configure(upstreamOptions(policy, this.#zone, encryption));
		if (checks) {
			member.checker = this.#createChecker(member);
			this.#checkEndpoints(member);
		}
		if (parts.includes("endpoints")) {
			member.source.stop();
			member.source = this.#createSource(policy);
			this.#startSource(member);
		}
	}

	#createSource(policy: UpstreamPolicy): EndpointSource {
		const { clock, rng, log, registry } = this.#deps;
		return createEndpointSource(policy.endpoints, { clock, rng, log, registry });
	}

	#startSource(member: Member): void {
		const { source, policy, upstream } = member;
		source.start(
			(endpoints) => {
				member.fault = undefined;
				member.endpoints = endpoints;
				upstream.setEndpoints(endpoints);
				this.#checkEndpoints(member);
			},
			(message) => {
				member.fault = message;
				this.#deps.log.warn("endpoints of an upstream could not be read; the last good ones stay", { upstream: policy.name, error: message });
			},
		);
	}

	#checkEndpoints(member: Member): void {
		if (member.checker === undefined) return;
		// What an earlier checker found is still true: a changed check must not make an ill endpoint look well for a moment.
		const known = new Map(Array.from(member.upstream.endpoints(), ({ key, health }) => [key, health]));
		member.checker.setEndpoints(
			member.endpoints.map(({ address }) => {
				const key = addressText(address);
				const health = known.get(key);
				return health === "healthy" || health === "unhealthy" ? { key, address, known: health } : { key, address };
			}),
		);
	}

	#createChecker({ policy, upstream }: Member): HealthChecker | undefined {
		const check = policy.healthCheck;
		if (check === undefined) return undefined;
		const { clock, rng, log, feed } = this.#deps;
		const { encryption } = upstream.options;
		return new HealthChecker({
			connectorTo: encryption && ((address) => encryption.connectorTo(address)),
			policy: check,
			upstream: policy.name,
			clock,
			rng,
			log,
			onPassed: (key) => upstream.guards.outlier?.onHealthy(key),
			onChange: (key, healthy, { lastError, consecutive, first }) => {
				upstream.setHealth(key, healthy ? "healthy" : "unhealthy");
				// That a service is well when one looks for the first time is no news.
				if (first && healthy) return;
				const fields = { upstream: policy.name, endpoint: key, kind: check.kind, lastError, consecutive };
				feed.emit(healthy ? "nexus.mesh.endpoint.healthy" : "nexus.mesh.endpoint.unhealthy", fields, `${policy.name}/${key}`);
				if (healthy) log.info("endpoint is healthy again", fields);
				else log.warn("endpoint is unhealthy", fields);
			},
		});
	}
}

function upstreamOptions(policy: UpstreamPolicy, zone: string | undefined, encryption: Encryption | undefined): UpstreamOptions {
	const { name, loadBalancing, balancing, timeout, pool, circuitBreaker, concurrency, outlierDetection, retryBudget } = policy;
	return {
		name,
		loadBalancing,
		balancing,
		timeout,
		pool,
		guards: { circuitBreaker, concurrency, outlierDetection, retryBudget },
		checked: policy.healthCheck !== undefined,
		holdWhileRefused: false,
		zone,
		encryption,
	};
}
