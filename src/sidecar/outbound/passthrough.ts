/** What is not in the mesh, sent on to where its Host says; only where policy asks for it, and never to addresses that are ours alone. */
import { lookup as systemLookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { networkInterfaces } from "node:os";
import type { RequestParser } from "../../http1/request-parser.ts";
import type { TrafficCounters } from "../../metrics/traffic.ts";
import type { DefaultUpstream } from "../../policy/compile.ts";
import type { Upstream, UpstreamOptions } from "../../upstream/upstream.ts";
import { type Refusal, refusal, type Target } from "../exchange/stack.ts";

/** Destinations remembered with their pools; the one unused for longest makes room. */
const DESTINATIONS_MAX = 256;
const DEFAULT_PORT = 80;

export interface PassthroughOptions {
	readonly upstream: DefaultUpstream;
	readonly counters: TrafficCounters;
	/** Whether a listener of ours or the admin API has that port: a request to them would act with our rights. */
	readonly isOwnPort: (port: number) => boolean;
	readonly create: (options: UpstreamOptions) => Upstream;
}

interface Destination {
	readonly host: string;
	readonly port: number;
	readonly target: Target;
}

export class Passthrough {
	readonly #options: PassthroughOptions;
	// Insertion order is order of use: a hit is put at the end.
	readonly #destinations = new Map<string, Destination>();

	constructor(options: PassthroughOptions) {
		this.#options = options;
	}

	upstreams(): Iterable<Upstream> {
		return [...this.#destinations.values()].map(({ target }) => target.upstream);
	}

	decide(request: RequestParser): Target | Refusal {
		const authority = request.authority.toLowerCase();
		if (authority === "") return refusal("no_route", "the request names no host");
		const known = this.#destinations.get(authority);
		const { host, port } = known ?? split(authority);
		// Of a known destination too: a reload may have opened a listener of ours there.
		if (isIP(host) !== 0 && this.#forbids(host, port))
			return refusal("misdirected_request", "link-local addresses and our own listeners are not reached through here");
		if (known === undefined) return this.#remember(authority, host, port);
		this.#destinations.delete(authority);
		this.#destinations.set(authority, known);
		return known.target;
	}

	/** For connections: the address behind a name is looked at as well (a name may point at 169.254.169.254). */
	lookupFor(port: number): LookupFunction {
		return (hostname, options, callback) => {
			systemLookup(hostname, { ...options, all: false }, (error, address, family) => {
				if (error === null && this.#forbids(address, port)) {
					callback(
						Object.assign(new Error(`${hostname} points at an address that is not reached through here`), { code: "EACCES" }),
						address,
						family,
					);
				} else if (options.all === true) callback(error, error === null ? [{ address, family }] : [], family);
				else callback(error, address, family);
			});
		};
	}

	destroy(): void {
		for (const upstream of this.upstreams()) upstream.destroy();
		this.#destinations.clear();
	}

	#forbids(address: string, port: number): boolean {
		const family = isIP(address) === 6 ? "ipv6" : "ipv4";
		if (LINK_LOCAL.check(address, family)) return true;
		return this.#options.isOwnPort(port) && ownAddresses().check(address, family);
	}

	#remember(authority: string, host: string, port: number): Target {
		if (this.#destinations.size >= DESTINATIONS_MAX) {
			const [oldest] = this.#destinations;
			if (oldest !== undefined) {
				oldest[1].target.upstream.retire();
				this.#destinations.delete(oldest[0]);
			}
		}
		const { upstream: defaults, counters, create } = this.#options;
		const { timeout, retry, retryBudget } = defaults;
		const upstream = create({
			name: authority,
			loadBalancing: defaults.loadBalancing,
			balancing: defaults.balancing,
			timeout,
			pool: defaults.pool,
			// There is one endpoint: to leave it out would help nobody.
			guards: { circuitBreaker: undefined, concurrency: undefined, outlierDetection: undefined, retryBudget },
			checked: false,
			holdWhileRefused: false,
			zone: undefined,
			lookup: this.lookupFor(port),
		});
		upstream.setEndpoints([{ address: { kind: "tcp", host, port }, weight: 1, zone: undefined }]);
		// One set of counters for all of them: hosts are the application's to choose, and labels must stay bounded.
		const target: Target = {
			kind: "target",
			route: "",
			place: undefined,
			upstream,
			counters,
			rewriteHost: undefined,
			rewriteTarget: undefined,
			requestMs: timeout.requestMs,
			idleMs: timeout.idleMs,
			retry,
			// Nobody outside of the mesh is to know how long we would wait.
			deadlineLine: undefined,
			headEnd: "\r\n",
			limits: undefined,
			hashOn: undefined,
			mirror: undefined,
			requestChanges: undefined,
			responseChanges: undefined,
			failover: [],
			respondWhenOpen: undefined,
		};
		this.#destinations.set(authority, { host, port, target });
		return target;
	}
}

// And the metadata service that is not on a link-local address (AWS over IPv6).
const LINK_LOCAL = blockList([
	["fd00:ec2::254", 128, "ipv6"],
	["169.254.0.0", 16, "ipv4"],
	["fe80::", 10, "ipv6"],
	["0.0.0.0", 32, "ipv4"],
	["::", 128, "ipv6"],
]);

/** Of this machine: loopback and its interfaces, which may change while we run. Asked only about our own ports. */
function ownAddresses(): BlockList {
	const list = blockList([
		["127.0.0.0", 8, "ipv4"],
		["::1", 128, "ipv6"],
	]);
	for (const own of Object.values(networkInterfaces()).flat()) {
		if (own !== undefined) list.addAddress(own.address, own.family === "IPv6" ? "ipv6" : "ipv4");
	}
	return list;
}

function blockList(subnets: readonly (readonly [string, number, "ipv4" | "ipv6"])[]): BlockList {
	const list = new BlockList();
	for (const [network, prefix, family] of subnets) list.addSubnet(network, prefix, family);
	return list;
}

/** The authority has been checked by the codec: `host`, `host:port`, `[v6]`, `[v6]:port`. */
function split(authority: string): { host: string; port: number } {
	const colon = authority.lastIndexOf(":");
	const bare = (host: string): string => (host.startsWith("[") ? host.slice(1, -1) : host);
	if (colon === -1 || authority.endsWith("]")) return { host: bare(authority), port: DEFAULT_PORT };
	const digits = authority.slice(colon + 1);
	return { host: bare(authority.slice(0, colon)), port: digits === "" ? DEFAULT_PORT : Number.parseInt(digits, 10) };
}
