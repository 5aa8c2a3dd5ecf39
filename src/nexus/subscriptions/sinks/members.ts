/** Several sinks as one, by the strategy of the subscription: one of them for each event, or all of them together. */
import { Hash64Slot, xxh64Utf8 } from "../../../core/xxh64.ts";
import { ACK, type Entry, type Sink, type Verdict } from "../delivery.ts";
import { WINDOW_MAX } from "../limits.ts";

export interface Member {
	readonly name: string;
	/** Share of the events; only the weighted strategy looks at it. */
	readonly weight: number;
	readonly sink: Sink;
}

/** One of the members that are ready, or the one that the event belongs to, ready or not. Undefined: none is ready. */
export type Pick = (entry: Entry, isReady: (member: Member) => boolean) => Member | undefined;

/** While a member is being asked whether it is ready. */
const ASK_AGAIN_MS = 1_000;

/** Each event goes to one member. */
export class OneOfMembers implements Sink {
	readonly #members: readonly Member[];
	readonly #pick: Pick;
	readonly #monotonicMs: () => number;

	constructor(members: readonly Member[], pick: Pick, monotonicMs: () => number) {
		this.#members = members;
		this.#pick = pick;
		this.#monotonicMs = monotonicMs;
	}

	get trouble(): string {
		return troubleOf(this.#members);
	}

	/** As soon as any member is. */
	readiness(nowMs: number): number | Promise<void> {
		let least = Number.POSITIVE_INFINITY;
		const pending: Promise<void>[] = [];
		for (const { sink } of this.#members) {
			const readiness = sink.readiness(nowMs);
			if (readiness === 0) return 0;
			if (typeof readiness === "number") least = Math.min(least, readiness);
			else pending.push(readiness);
		}
		return pending.length > 0 ? Promise.race(pending) : least;
	}

	deliver(entry: Entry, signal: AbortSignal, progress: () => void): Promise<Verdict> {
		const nowMs = this.#monotonicMs();
		const member = this.#pick(entry, ({ sink }) => sink.readiness(nowMs) === 0);
		const readiness = member === undefined ? this.readiness(nowMs) : member.sink.readiness(nowMs);
		if (member !== undefined && readiness === 0) return member.sink.deliver(entry, signal, progress);
		// Its own member is not ready, and no other may have it.
		const delayMs = typeof readiness === "number" ? readiness : ASK_AGAIN_MS;
		return Promise.resolve({ kind: "nak", reason: `no member is ready: ${this.trouble}`, delayMs, isUnsent: true });
	}

	async close(): Promise<void> {
		await Promise.all(this.#members.map(({ sink }) => sink.close()));
	}
}

/** Each event goes to all members at once, and is done when all have it; tried again, it goes only to those who had not. */
export class AllMembers implements Sink {
	readonly #members: readonly Member[];
	/** Members that have an event which others have not. */
	readonly #have = new Map<number, Set<Member>>();

	constructor(members: readonly Member[]) {
		this.#members = members;
	}

	get trouble(): string {
		return troubleOf(this.#members);
	}

	/** As soon as every member is. */
	readiness(nowMs: number): number | Promise<void> {
		let most = 0;
		for (const { sink } of this.#members) {
			const readiness = sink.readiness(nowMs);
			if (typeof readiness !== "number") return readiness;
			most = Math.max(most, readiness);
		}
		return most;
	}

	async deliver(entry: Entry, signal: AbortSignal, progress: () => void): Promise<Verdict> {
		const have = this.#have.get(entry.sequence) ?? new Set<Member>();
		const failures = await Promise.all(
			this.#members
				.filter((member) => !have.has(member))
				.map(async (member) => {
					const verdict = await member.sink.deliver(entry, signal, progress);
					if (verdict.kind !== "ack") return { ...verdict, reason: `${member.name}: ${verdict.reason}` };
					have.add(member);
					return undefined;
				}),
		);
		const [worst] = failures.filter((failure) => failure !== undefined).sort((a, b) => (a.kind === b.kind ? 0 : a.kind === "nak" ? -1 : 1));
		if (worst === undefined) {
			this.#have.delete(entry.sequence);
			return ACK;
		}
		this.#remember(entry.sequence, have);
		return worst;
	}

	async close(): Promise<void> {
		await Promise.all(this.#members.map(({ sink }) => sink.close()));
	}

	/** What is parked never comes back to be forgotten: the oldest goes, which costs its members a double at most. */
	#remember(sequence: number, have: Set<Member>): void {
		this.#have.set(sequence, have);
		if (this.#have.size <= 2 * WINDOW_MAX) return;
		const [oldest] = this.#have.keys();
		if (oldest !== undefined) this.#have.delete(oldest);
	}
}

/** In turn; a try again goes to another one. */
export function roundRobin(members: readonly Member[]): Pick {
	let next = 0;
	return (_entry, isReady) => {
		for (let n = 0; n < members.length; n++) {
			const member = members[next] as Member;
			next = (next + 1) % members.length;
			if (isReady(member)) return member;
		}
		return undefined;
	};
}

/** By weight, evenly spread over time (smooth weighted round robin, as in nginx). */
export function weighted(members: readonly Member[]): Pick {
	const credit = members.map(() => 0);
	return (_entry, isReady) => {
		let best = -1;
		let total = 0;
		for (let i = 0; i < members.length; i++) {
			const member = members[i] as Member;
			if (!isReady(member)) continue;
			total += member.weight;
			credit[i] = (credit[i] as number) + member.weight;
			if (best < 0 || (credit[i] as number) > (credit[best] as number)) best = i;
		}
		if (best < 0) return undefined;
		credit[best] = (credit[best] as number) - total;
		return members[best];
	};
}

/** The same key always to the same member, whether that is ready or not; a member that comes or goes moves its own keys alone (rendezvous hashing). */
export function byKey(members: readonly Member[]): Pick {
	const slot = new Hash64Slot();
	const others = roundRobin(members);
	return (entry, isReady) => {
		const { key } = entry;
		if (key === undefined) return others(entry, isReady);
		let best: Member | undefined;
		let highest = -1;
		for (const member of members) {
			const { hi } = xxh64Utf8(`${member.name}\n${key}`, slot);
			const score = hi >>> 0;
			if (score <= highest) continue;
			highest = score;
			best = member;
		}
		return best;
	};
}

function troubleOf(members: readonly Member[]): string {
	return members
		.filter(({ sink }) => sink.trouble !== "")
		.map(({ name, sink }) => (members.length === 1 ? sink.trouble : `${name}: ${sink.trouble}`))
		.join("; ");
}
