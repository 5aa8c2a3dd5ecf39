/** From an upstream's policy and its endpoints, well or not, to the picker to publish and how it came about. */
import type { Rng } from "../core/rng.ts";
import type { BalancingKind, BalancingPolicy } from "../policy/snapshot.ts";
import { arrange, type Group, type Member } from "./arrange.ts";
import { buildPicker, type PickerSettings } from "./build-picker.ts";
import { GroupedPicker } from "./grouped-picker.ts";
import type { Picker } from "./picker.ts";

export type { Member } from "./arrange.ts";

export interface Arrangement<E extends Member> {
	readonly picker: Picker<E>;
	/** So few are usable that all are used, in one priority at least. */
	readonly panic: boolean;
	/** Who takes which part of the load; `other` once for each zone that takes over. Empty where nothing may be used. */
	readonly groups: readonly GroupSummary[];
}

export interface GroupSummary {
	readonly priority: number;
	readonly zone: "local" | "other" | "any";
	/** 0..1 */
	readonly share: number;
	readonly size: number;
}

export interface BalancerOptions<E extends Member> {
	/** Where this sidecar runs. */
	readonly ownZone: string | undefined;
	readonly rng: Rng;
	/** Monotonic milliseconds: the clock of the members' latencies. */
	readonly now: () => number;
	/** Whose turns go on. */
	readonly previous?: Arrangement<E>;
	/** Weights of this moment, for slow start. Shares of zones keep to the members' own; so do ring-hash and maglev. */
	readonly weightOf?: (member: E) => number;
}

/** `members`: all endpoints, distinct objects. Throws RangeError as `buildPicker` does. The usual single group stands behind nothing. */
export function buildBalancer<E extends Member>(
	kind: BalancingKind,
	policy: BalancingPolicy,
	members: readonly E[],
	options: BalancerOptions<E>,
): Arrangement<E> {
	const { ownZone, rng, now, previous, weightOf } = options;
	const { ringSizeMin, tableSize, zoneAware, panicThreshold } = policy;
	const groups = arrange(members, { ownZone, zoneAware, panicThreshold });
	const settings: PickerSettings<E> = { ringSizeMin, tableSize, now, weightOf };
	const pickerOf = (group: readonly E[]): Picker<E> => buildPicker(kind, group, rng, previous?.picker, settings);
	return { picker: join(groups, pickerOf, rng), panic: groups.some(({ panic }) => panic), groups: groups.map(summary) };
}

function join<E extends Member>(groups: readonly Group<E>[], pickerOf: (group: readonly E[]) => Picker<E>, rng: Rng): Picker<E> {
	const pickers = groups.map(({ members }) => pickerOf(members));
	const [first] = pickers;
	if (first === undefined) return pickerOf([]);
	if (pickers.length === 1) return first;
	return new GroupedPicker(
		pickers,
		groups.map(({ share }) => share),
		rng,
	);
}

function summary<E>({ priority, zone, share, members }: Group<E>): GroupSummary {
	return { priority, zone, share, size: members.length };
}
