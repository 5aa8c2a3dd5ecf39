/** What the instances of a service say of their policy: which version each runs since when, and what it would not take. Kept for as long as they are heard. */
import { z } from "zod";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { keyOf, partsOf } from "../registry/instance.ts";
import { LeaseBook } from "../registry/lease-book.ts";
import type { CommitOutcome, StateStore } from "../state/state-store.ts";

const INSTANCES_MAX = 20_000;
/** Two polls of 30 s. */
const LEASE_MS = 60_000;
/** Whose poll was cut comes back within seconds, or not at all. */
const DOUBT_MS = 10_000;
/** The first of them say what is wrong; the sidecar's own log has all. */
export const FAULTS_MAX = 20;

const words = z.string().max(600);

export const faultDocument = z.strictObject({ place: words, message: words, hint: words });

export const reportDocument = z.strictObject({
	/** 0: its own file alone. */
	running: z.int().nonnegative(),
	/** By its own clock. */
	/** As far as there are dates (ECMA-262 section 21.4.1.1). */
	sinceMs: z.number().nonnegative().max(8.64e15),
	rejected: z.strictObject({ version: z.int().positive(), faults: z.array(faultDocument).max(FAULTS_MAX) }).nullable(),
});

export type InstanceReport = z.infer<typeof reportDocument>;

export class InstanceReports {
	readonly #book: LeaseBook<InstanceReport>;
	/** Names of instances: a list of all policies asks for each service, and the reports are those of all of them. */
	readonly #byService = new Map<string, Set<string>>();

	private constructor(book: LeaseBook<InstanceReport>) {
		this.#book = book;
		for (const [key] of book.entries()) this.#index(key);
		book.onChange((key) => this.#index(key));
	}

	/** Rejects where the state cannot be read. */
	static async open(options: { readonly store: StateStore; readonly clock: Clock; readonly logger: Logger }): Promise<InstanceReports> {
		const parse = (value: unknown): InstanceReport | undefined => reportDocument.safeParse(value).data;
		return new InstanceReports(await LeaseBook.open({ ...options, table: "policy-reports", max: INSTANCES_MAX, parse }));
	}

	take(service: string, instance: string, report: InstanceReport): Promise<CommitOutcome | { readonly ok: true }> {
		return this.#book.renew(keyOf(service, instance), report, LEASE_MS);
	}

	/** It has gone away while it waited. */
	doubt(service: string, instance: string): void {
		this.#book.doubt(keyOf(service, instance), DOUBT_MS);
	}

	get(service: string, instance: string): InstanceReport | undefined {
		return this.#book.get(keyOf(service, instance));
	}

	silentMs(service: string, instance: string): number {
		return this.#book.silentMs(keyOf(service, instance));
	}

	/** Those that are heard, by name. */
	of(service: string): ReadonlyMap<string, InstanceReport> {
		const reports = new Map<string, InstanceReport>();
		for (const instance of [...(this.#byService.get(service) ?? [])].sort()) {
			const report = this.get(service, instance);
			if (report !== undefined) reports.set(instance, report);
		}
		return reports;
	}

	close(): void {
		this.#book.close();
	}

	#index(key: string): void {
		const { service, instance } = partsOf(key);
		const instances = this.#byService.get(service) ?? new Set();
		if (this.#book.get(key) === undefined) instances.delete(instance);
		else instances.add(instance);
		if (instances.size === 0) this.#byService.delete(service);
		else this.#byService.set(service, instances);
	}
}
