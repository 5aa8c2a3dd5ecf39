/** Which endpoints share the load: by priority, by zone, and all of them where too few are well. Pure arithmetic. */
import type { Candidate } from "./picker.ts";

/** A candidate with its place in the upstream. */
export interface Member extends Candidate {
	/** Neither unhealthy nor ejected. */
	readonly usable: boolean;
	readonly zone: string | undefined;
	/** 0 is used first. */
	readonly priority: number;
}

/** Endpoints that are balanced among themselves, and the part of the load that is theirs. */
export interface Group<E> {
	readonly priority: number;
	/** `other` is one zone that is not ours; `any` where zones play no part. */
	readonly zone: "local" | "other" | "any";
	/** 0..1; those of all groups make 1. */
	readonly share: number;
	/** Whether it holds also what is not usable, because too few are. */
	readonly panic: boolean;
	readonly members: readonly E[];
}

export interface ArrangeOptions {
	readonly ownZone: string | undefined;
	readonly zoneAware: boolean;
	/** 0..100 */
	readonly panicThreshold: number;
}

// Envoy's overprovisioning factor 1.4: a priority bears its whole load until less than 72 % of it are usable.
const OVERPROVISIONING_PERCENT = 140;

// What rounding leaves of a share is not worth a group.
const SHARE_MIN = 1e-9;

/** By falling priority, our own zone first; no group without a share, none at all where nothing may be used. O(n log n). */
export function arrange<E extends Member>(members: readonly E[], options: ArrangeOptions): Group<E>[] {
	const levels = levelsOf(members);
	shareLoad(levels, options.panicThreshold);
	return levels.filter(({ percent }) => percent > 0).flatMap((level) => groupsOf(level, options));
}

interface Level<E> {
	readonly priority: number;
	readonly all: readonly E[];
	readonly usable: readonly E[];
	/** Of the whole load; integers, as Envoy counts. */
	percent: number;
	panic: boolean;
}

function levelsOf<E extends Member>(members: readonly E[]): Level<E>[] {
	return [...Map.groupBy(members, ({ priority }) => priority)]
		.sort(([a], [b]) => a - b)
		.map(([priority, all]) => ({ priority, all, usable: all.filter(({ usable }) => usable), percent: 0, panic: false }));
}

/**
 * Envoy's arithmetic (load_balancer_impl.cc, arch_overview "priority levels" and "panic threshold"): each level takes as
 * much as its health bears and leaves the rest to the next. Only where all together cannot bear the whole do levels
 * panic; where each of them does, every endpoint counts alike.
 */
function shareLoad<E>(levels: readonly Level<E>[], panicThreshold: number): void {
	const health = levels.map(({ all, usable }) => Math.min(100, Math.floor((OVERPROVISIONING_PERCENT * usable.length) / all.length)));
	const available = Math.min(
		100,
		health.reduce((sum, percent) => sum + percent, 0),
	);
	if (available < 100) for (const level of levels) level.panic = (100 * level.usable.length) / level.all.length < panicThreshold;
	if (levels.every(({ panic }) => panic)) {
		const total = levels.reduce((sum, { all }) => sum + all.length, 0);
		distribute(levels, (level) => (100 * level.all.length) / total);
	} else if (available > 0) distribute(levels, (_, i) => ((health[i] as number) * 100) / available);
}

/** In order, whole percents, until nothing is left; what rounding leaves goes to the first that takes any. */
function distribute<E>(levels: readonly Level<E>[], wanted: (level: Level<E>, index: number) => number): void {
	let left = 100;
	levels.forEach((level, i) => {
		level.percent = Math.min(left, Math.floor(wanted(level, i)));
		left -= level.percent;
	});
	const first = levels.find((level, i) => wanted(level, i) > 0);
	if (first !== undefined) first.percent += left;
}

function groupsOf<E extends Member>(level: Level<E>, { ownZone, zoneAware }: ArrangeOptions): Group<E>[] {
	const { priority, panic, all, usable } = level;
	const share = level.percent / 100;
	if (panic) return [{ priority, zone: "any", share, panic, members: all }];
	if (!zoneAware || ownZone === undefined || !all.some(({ zone }) => zone === ownZone)) {
		return [{ priority, zone: "any", share, panic, members: usable }];
	}
	return zoneShares(level, ownZone).map(([zone, part]) => ({
		priority,
		zone: zone === ownZone ? "local" : "other",
		share: share * part,
		panic,
		members: usable.filter((member) => member.zone === zone),
	}));
}

/**
 * Envoy's zone aware routing with what one sidecar knows. Envoy is told how many callers each zone has; we take each zone
 * that has endpoints, usable or not, to have alike many. So a zone whose capacity (the weights of what is usable) is at
 * least its fair part serves its own callers alone; from another one there spills over what it cannot bear, to the zones
 * that have more than they need, in proportion to what they have more. Thus no zone is overloaded for the sake of nearness.
 */
function zoneShares<E extends Member>({ all, usable }: Level<E>, ownZone: string): [zone: string | undefined, share: number][] {
	const named = new Set(all.map(({ zone }) => zone));
	named.delete(undefined); // those serve everybody and call nobody
	const fair = 1 / named.size;
	const total = usable.reduce((sum, { weight }) => sum + weight, 0);
	const capacity = new Map<string | undefined, number>();
	for (const { zone, weight } of usable) capacity.set(zone, (capacity.get(zone) ?? 0) + weight / total);
	const local = (capacity.get(ownZone) ?? 0) / fair;
	if (local >= 1 - SHARE_MIN) return [[ownZone, 1]];
	const spare = [...capacity]
		.map(([zone, part]): [string | undefined, number] => [zone, zone === undefined ? part : part - fair])
		.filter(([zone, more]) => zone !== ownZone && more > SHARE_MIN);
	const spareTotal = spare.reduce((sum, [, more]) => sum + more, 0);
	const shares = spare.map(([zone, more]): [string | undefined, number] => [zone, ((1 - local) * more) / spareTotal]);
	return local > 0 ? [[ownZone, local], ...shares] : shares;
}
