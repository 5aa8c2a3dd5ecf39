/** What subscriptions show on the page of metrics, and of whether Nexus is well. */
import type { Subscription, SubscriptionNumbers } from "./subscription.ts";
import type { Subscriptions } from "./subscriptions.ts";

export interface SubscriptionReading {
	readonly name: string;
	readonly type: "counter" | "gauge";
	/** One sentence, with the unit. */
	readonly help: string;
	/** By subscription, and by outcome where there are several. */
	readonly values: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

/** Each with its own lines; the ones behind are summed up, so that the page stays readable for who scrapes it (law 5). */
const SHOWN_MAX = 1000;
const OTHERS = "others";
export const TROUBLED_SHOWN_MAX = 20;

/** Subscriptions that do not get on. */
export interface SubscriptionTrouble {
	readonly count: number;
	readonly first: readonly { readonly name: string; readonly state: string; readonly trouble: string }[];
}

interface Row extends SubscriptionNumbers {
	readonly name: string;
	readonly deadLetters: number;
	readonly oldestLetterAgeMs: number;
	readonly isStalled: number;
}

export function subscriptionReadings(subscriptions: Subscriptions, wallMs: number): SubscriptionReading[] {
	const rows = rowsOf(subscriptions, wallMs);
	const gauge = (name: string, help: string, of: (row: Row) => number): SubscriptionReading => ({
		name,
		type: "gauge",
		help,
		values: rows.map(by(of)),
	});
	const outcomes: readonly (readonly [outcome: string, of: (row: Row) => number])[] = [
		["ack", ({ acked }) => acked],
		["nak", ({ naked, timedOut }) => naked - timedOut],
		["timeout", ({ timedOut }) => timedOut],
		["term", ({ terminated }) => terminated],
	];
	return [
		{
			name: "nexus_subscription_deliveries_total",
			type: "counter",
			help: "Tries that have ended, by outcome.",
			values: rows.flatMap((row) => outcomes.map(([outcome, of]) => ({ labels: { subscription: row.name, outcome }, value: of(row) }))),
		},
		{
			name: "nexus_subscription_parked_total",
			type: "counter",
			help: "Events that became dead letters.",
			values: rows.map(by(({ parked }) => parked)),
		},
		{
			name: "nexus_subscription_missed_total",
			type: "counter",
			help: "Events that were gone from the log before they were delivered.",
			values: rows.map(by(({ missed }) => missed)),
		},
		{
			name: "nexus_subscription_busy_seconds_total",
			type: "counter",
			help: "Time of all tries that have ended, in seconds.",
			values: rows.map(by(({ busyMs }) => busyMs / 1000)),
		},
		gauge("nexus_subscription_dead_letters", "Dead letters that are kept.", ({ deadLetters }) => deadLetters),
		gauge(
			"nexus_subscription_dead_letter_oldest_age_seconds",
			"Since the oldest dead letter was parked.",
			({ oldestLetterAgeMs }) => oldestLetterAgeMs / 1000,
		),
		gauge("nexus_subscription_open", "Events under way, or waiting for a try.", ({ open }) => open),
		gauge("nexus_subscription_in_flight", "Tries under way.", ({ flying }) => flying),
		gauge("nexus_subscription_lag", "Events of the log that were not looked at yet, and those that are open.", ({ open, unread }) => open + unread),
		gauge("nexus_subscription_oldest_age_seconds", "Since its receipt, of the oldest open event.", ({ oldestAgeMs }) => oldestAgeMs / 1000),
		gauge("nexus_subscription_pool_size", "Deliveries that may be under way.", ({ poolSize }) => poolSize),
		gauge("nexus_subscription_pool_utilisation", "Share of the pool that is busy, 0 to 1.", ({ utilisation }) => utilisation),
		gauge("nexus_subscription_stalled", "1 while events wait and none arrives.", ({ isStalled }) => isStalled),
	];
}

/** For /readyz: it takes events, but these are not delivered. Undefined where all is well. */
export function subscriptionTrouble(subscriptions: Subscriptions): SubscriptionTrouble | undefined {
	const ill = [...subscriptions.values()].filter(({ state }) => state === "stalled" || state === "broken");
	if (ill.length === 0) return undefined;
	return { count: ill.length, first: ill.slice(0, TROUBLED_SHOWN_MAX).map(({ name, state, trouble }) => ({ name, state, trouble })) };
}

function by(of: (row: Row) => number): (row: Row) => SubscriptionReading["values"][number] {
	return (row) => ({ labels: { subscription: row.name }, value: of(row) });
}

function rowsOf(subscriptions: Subscriptions, wallMs: number): Row[] {
	const rows: Row[] = [];
	let others: Row | undefined;
	for (const subscription of subscriptions.values()) {
		const row = rowOf(subscription, subscriptions, wallMs);
		if (rows.length < SHOWN_MAX) rows.push(row);
		else others = others === undefined ? { ...row, name: OTHERS } : added(others, row);
	}
	return others === undefined ? rows : [...rows, others];
}

function rowOf(subscription: Subscription, { letters }: Subscriptions, wallMs: number): Row {
	const { name, numbers, stalledSinceMs } = subscription;
	const kept = letters.count(name);
	return {
		...numbers,
		name,
		deadLetters: kept?.count ?? 0,
		oldestLetterAgeMs: kept === undefined ? 0 : Math.max(0, wallMs - kept.oldestParkedAtMs),
		isStalled: stalledSinceMs === undefined ? 0 : 1,
	};
}

/** Sums, but for what is an age or a share: there the worst counts. */
function added(a: Row, b: Row): Row {
	const sum = { ...a } as Record<string, unknown>;
	for (const key of Object.keys(b) as (keyof Row)[]) {
		if (key === "name") continue;
		sum[key] = key === "oldestAgeMs" || key === "oldestLetterAgeMs" || key === "utilisation" ? Math.max(a[key], b[key]) : a[key] + b[key];
	}
	return sum as unknown as Row;
}
