/** Joins what tells about the sidecar (access log, events to Nexus, rollups) and follows the settings of the running policy. */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Rng } from "../core/rng.ts";
import type { TrafficRegistry } from "../metrics/traffic.ts";
import type { PolicyFault } from "../policy/fault.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { AccessLog } from "../telemetry/access-log.ts";
import type { ExchangeObserver, ExchangeRecord } from "../telemetry/access-record.ts";
import { LineWriter } from "../telemetry/line-writer.ts";
import type { MeshIdentity } from "./identity/mesh-identity.ts";
import type { EventDelivery } from "./telling/event-delivery.ts";
import type { EventFeed } from "./telling/event-feed.ts";
import type { TellingParts } from "./telling/metrics.ts";
import { SpoolKeeper } from "./telling/spool/spool-keeper.ts";
import { TrafficRollup } from "./telling/traffic-rollup.ts";

const STDOUT = 1;
/** What is left of the events at the end; Nexus may be gone, and the process must not wait for it. */
const FLUSH_MS = 2000;

export interface TellingOptions {
	readonly clock: Clock;
	readonly rng: Rng;
	readonly log: Logger & { readonly dropped: number };
	readonly feed: EventFeed;
	readonly traffic: TrafficRegistry;
	/** Of this service, where its policy names one; undefined while it has none. */
	readonly identity?: () => MeshIdentity | undefined;
	/** Where access log lines go: a descriptor or a path. Default: standard output. */
	readonly accessLogDestination?: number | string;
}

export class Telling implements ExchangeObserver {
	readonly #options: TellingOptions;
	readonly #rollup: TrafficRollup;
	readonly #keeper: SpoolKeeper;
	#delivery: EventDelivery | undefined;
	#unsubscribe: (() => void) | undefined;
	#writer: LineWriter | undefined;
	#accessLog: AccessLog | undefined;

	constructor(options: TellingOptions) {
		this.#options = options;
		this.#rollup = new TrafficRollup(options);
		this.#keeper = new SpoolKeeper(options);
	}

	get parts(): TellingParts {
		return { spool: this.#keeper.spool, delivery: this.#delivery, accessLog: this.#writer, log: this.#options.log };
	}

	record(exchange: ExchangeRecord): void {
		this.#accessLog?.record(exchange);
	}

	/** Opens the spool directory that `next` names, if it is another one; `apply` or `abandon` follows. With faults nothing has changed. */
	prepare(next: Snapshot): Promise<readonly PolicyFault[]> {
		return this.#keeper.prepare(next.nexus);
	}

	abandon(): Promise<void> {
		return this.#keeper.abandon();
	}

	/** Takes over what `next` says about Nexus and the access log; events that wait go on waiting, for whoever is Nexus then. */
	async apply(next: Snapshot): Promise<void> {
		this.#applyAccessLog(next.accessLogSample);
		const { nexus } = next;
		if (nexus === undefined) {
			await this.#closeDelivery(0);
			await this.#keeper.release(FLUSH_MS);
			return;
		}
		await this.#keeper.apply(nexus, this.#delivery);
		if (this.#delivery === undefined) await this.#openDelivery(nexus.url, next.identity !== undefined);
		else this.#delivery.setUrl(nexus.url);
	}

	/** The last window of the rollup; call while events can still be delivered. */
	async close(): Promise<void> {
		this.#rollup.stop();
		await Promise.all([this.#closeDelivery(FLUSH_MS), this.#writer?.close(FLUSH_MS)]);
		await this.#keeper.release(FLUSH_MS);
	}

	async #openDelivery(url: string, hasIdentity: boolean): Promise<void> {
		const { clock, rng, log, feed } = this.#options;
		const identity = hasIdentity ? this.#options.identity : undefined;
		// Loaded where a Nexus is configured, and only there.
		const { EventDelivery } = await import("./telling/event-delivery.ts");
		const delivery = new EventDelivery({ url, spool: this.#keeper.spool, clock, rng, log, identity });
		this.#delivery = delivery;
		this.#unsubscribe = feed.subscribe((event) => delivery.offer(event));
	}

	async #closeDelivery(timeoutMs: number): Promise<void> {
		this.#unsubscribe?.();
		this.#unsubscribe = undefined;
		const delivery = this.#delivery;
		this.#delivery = undefined;
		await delivery?.close(timeoutMs);
	}

	#applyAccessLog(sample: number | undefined): void {
		if (sample === undefined) {
			this.#accessLog?.setSample(0);
			return;
		}
		const { clock, rng, log, accessLogDestination = STDOUT } = this.#options;
		if (this.#accessLog !== undefined) {
			this.#accessLog.setSample(sample);
			return;
		}
		const onFault = (code: string): void => log.error("the access log cannot be written; lines are lost", { error: code });
		this.#writer = new LineWriter({ destination: accessLogDestination, clock, onFault });
		this.#accessLog = new AccessLog({ writer: this.#writer, clock, rng, sample });
	}
}
