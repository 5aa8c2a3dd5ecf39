/** One way to publish, kept up for some seconds: how many events were acknowledged, how fast, and at what cost to the one who took them. */
import { setTimeout as pause } from "node:timers/promises";
import { cpuTime } from "../cpu.ts";
import { percentile } from "../stats.ts";

/** What is sent at a time, and how much of it may be unanswered. */
export interface Shape {
	readonly connections: number;
	/** Messages without an answer, of one connection. */
	readonly inFlight: number;
	readonly eventsPerMessage: number;
}

/** A connection to a contestant; calls `answered` once for each message, in the order of sending. */
export interface Sender {
	send(): void;
	close(): void;
}

export interface Answers {
	/** `events`: acknowledged. */
	readonly answered: (events: number) => void;
	readonly failed: (cause: Error) => void;
}

export type OpenSender = (shape: Shape, answers: Answers) => Promise<Sender>;

export interface TurnResult {
	readonly eventsPerSecond: number;
	/** Of one message, from sending to acknowledgement. */
	readonly p50Ms: number;
	readonly p99Ms: number;
	/** User and system, of the contestant. */
	readonly cpuUsPerEvent: number;
	readonly userUsPerEvent: number;
}

/** Sends and measures. Rejects at the first message that is not acknowledged. */
export async function takeTurn(open: OpenSender, shape: Shape, pid: number, warmMs: number, measureMs: number): Promise<TurnResult> {
	const { promise: failure, reject } = Promise.withResolvers<never>();
	failure.catch(() => {});
	let events = 0;
	let isMeasured = false;
	let isOver = false;
	const latencies: number[] = [];
	const senders: Sender[] = [];
	for (let i = 0; i < shape.connections; i++) {
		const sentAt: number[] = [];
		let head = 0;
		const sender = await open(shape, {
			answered(acknowledged) {
				const now = performance.now();
				if (isMeasured) {
					events += acknowledged;
					latencies.push(now - (sentAt[head] ?? now));
				}
				head++;
				if (head === 4096) {
					sentAt.splice(0, head);
					head = 0;
				}
				if (isOver) return;
				sentAt.push(now);
				sender.send();
			},
			failed: (cause) => {
				if (!isOver) reject(cause);
			},
		});
		senders.push(sender);
		for (let n = 0; n < shape.inFlight; n++) {
			sentAt.push(performance.now());
			sender.send();
		}
	}
	try {
		await Promise.race([pause(warmMs), failure]);
		const before = cpuTime(pid);
		const start = performance.now();
		isMeasured = true;
		await Promise.race([pause(measureMs), failure]);
		isMeasured = false;
		const seconds = (performance.now() - start) / 1000;
		const after = cpuTime(pid);
		const sorted = Float64Array.from(latencies).sort();
		const userUs = after.userUs - before.userUs;
		return {
			eventsPerSecond: events / seconds,
			p50Ms: percentile(sorted, 0.5),
			p99Ms: percentile(sorted, 0.99),
			cpuUsPerEvent: (userUs + after.systemUs - before.systemUs) / events,
			userUsPerEvent: userUs / events,
		};
	} finally {
		isOver = true;
		for (const sender of senders) sender.close();
	}
}
