/** One resolution of a DNS name into endpoints. Knows no schedule, and remembers nothing but what it is given. */
import type { SrvRecord } from "node:dns";
import { Resolver } from "node:dns/promises";
import { codeOf, messageOf } from "../../core/errors.ts";
import type { EndpointPolicy } from "../../policy/snapshot.ts";

export interface DnsQuestion {
	readonly name: string;
	readonly type: "A" | "AAAA" | "SRV";
	/** Of every address; SRV records bring their own. */
	readonly port: number | undefined;
}

/** What is asked of a resolver; that of `node:dns/promises` has it. */
export interface NameResolver {
	resolve4(name: string): Promise<string[]>;
	resolve6(name: string): Promise<string[]>;
	resolveSrv(name: string): Promise<SrvRecord[]>;
	/** Rejects what is outstanding with ECANCELLED. */
	cancel(): void;
}

/** Addresses by target of SRV records, as they were last known. */
export type TargetAddresses = ReadonlyMap<string, readonly string[]>;

export type Resolution =
	/** At least one endpoint, in any order. `fault`: what of the answer could not be used, or had to be remembered. */
	| { readonly ok: true; readonly endpoints: readonly EndpointPolicy[]; readonly targets: TargetAddresses; readonly fault: string | undefined }
	| { readonly ok: false; readonly fault: string };

// A name with more addresses than this is a mistake or an attack.
const ENDPOINTS_MAX = 1_000;
// Targets of SRV records that are asked for at a time.
const TARGETS_AT_ONCE = 16;
// The heaviest that policy knows; SRV weights go up to 65,535.
const WEIGHT_MAX = 1_000;
// The caller's deadline spans all; two tries within it survive one lost datagram.
const TRY_TIMEOUT_MS = 2_000;

const NOTHING: TargetAddresses = new Map();

/** To be made for each resolution: it reads /etc/resolv.conf then, which changes with networks, VPNs and containers. */
export function createResolver(servers: readonly string[]): NameResolver {
	const resolver = new Resolver({ timeout: TRY_TIMEOUT_MS, tries: 2 });
	if (servers.length > 0) resolver.setServers(servers);
	return resolver;
}

/**
 * Never rejects. SRV as in RFC 2782: of the lowest priority alone, by weight (0 counts as 1), each target with all of its IPv4
 * addresses, or of IPv6 where it has no others. A target that cannot be resolved now keeps the addresses in `remembered`.
 */
export async function resolveEndpoints(question: DnsQuestion, resolver: NameResolver, remembered: TargetAddresses): Promise<Resolution> {
	const { name, type, port } = question;
	try {
		if (type === "SRV") return await resolveServices(name, resolver, remembered);
		const hosts = await (type === "A" ? resolver.resolve4(name) : resolver.resolve6(name));
		return resolution(
			hosts.map((host) => endpointOf(host, port ?? 0, 1)),
			name,
			NOTHING,
			undefined,
		);
	} catch (thrown) {
		return { ok: false, fault: wordsFor(thrown, name) };
	}
}

async function resolveServices(name: string, resolver: NameResolver, remembered: TargetAddresses): Promise<Resolution> {
	const answer = await resolver.resolveSrv(name);
	// The root as the target says that the service is decidedly not there.
	const present = answer.filter((record) => targetOf(record) !== "");
	const lowest = present.reduce((least, { priority }) => Math.min(least, priority), Number.POSITIVE_INFINITY);
	const records = present.filter(({ priority }) => priority === lowest);
	const names = [...new Set(records.slice(0, ENDPOINTS_MAX).map(targetOf))];
	const targets = new Map<string, readonly string[]>();
	let fault: string | undefined;
	const resolveTarget = async (target: string): Promise<void> => {
		try {
			targets.set(target, await addressesOf(target, resolver));
		} catch (thrown) {
			// Called off as a whole: the targets that follow must not be asked for any more.
			if (codeOf(thrown) === "ECANCELLED") throw thrown;
			fault ??= wordsFor(thrown, target);
			const known = remembered.get(target);
			if (known !== undefined) targets.set(target, known);
		}
	};
	for (let i = 0; i < names.length; i += TARGETS_AT_ONCE) await Promise.all(names.slice(i, i + TARGETS_AT_ONCE).map(resolveTarget));
	const heaviest = records.reduce((most, { weight }) => Math.max(most, weight), 0);
	const scale = Math.min(1, WEIGHT_MAX / heaviest);
	const endpoints = records.flatMap((record) => {
		const weight = Math.max(1, Math.round(record.weight * scale));
		return (targets.get(targetOf(record)) ?? []).map((host) => endpointOf(host, record.port, weight));
	});
	return resolution(endpoints, name, targets, fault);
}

async function addressesOf(target: string, resolver: NameResolver): Promise<readonly string[]> {
	try {
		return await resolver.resolve4(target);
	} catch (thrown) {
		if (codeOf(thrown) !== "ENODATA") throw thrown;
		return resolver.resolve6(target);
	}
}

function resolution(endpoints: readonly EndpointPolicy[], name: string, targets: TargetAddresses, fault: string | undefined): Resolution {
	if (endpoints.length === 0) return { ok: false, fault: fault ?? `${name}: the answer is empty` };
	if (endpoints.length <= ENDPOINTS_MAX) return { ok: true, endpoints, targets, fault };
	// In the order of addresses, so that it is the same ones each time: name servers shuffle.
	const kept = [...endpoints].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)).slice(0, ENDPOINTS_MAX);
	return { ok: true, endpoints: kept, targets, fault: `${name}: ${endpoints.length} endpoints; the first ${ENDPOINTS_MAX} are used` };
}

function targetOf({ name }: SrvRecord): string {
	return name.toLowerCase().replace(/\.$/, "");
}

function endpointOf(host: string, port: number, weight: number): EndpointPolicy {
	return Object.freeze({ address: Object.freeze({ kind: "tcp", host, port }), weight, zone: undefined });
}

function wordsFor(thrown: unknown, name: string): string {
	switch (codeOf(thrown)) {
		case "ENOTFOUND":
			return `${name}: no such name (it must be written in full; search domains and /etc/hosts do not count)`;
		case "ENODATA":
			return `${name}: the answer is empty`;
		case "ESERVFAIL":
			return `${name}: the name server failed (SERVFAIL)`;
		case "EREFUSED":
			return `${name}: the name server refused the question`;
		case "ECONNREFUSED":
			return `${name}: the name server does not run, or cannot be reached`;
		case "ETIMEOUT":
		case "ECANCELLED":
			return `${name}: the name server does not answer`;
		default:
			return `${name}: ${messageOf(thrown)}`;
	}
}
