/** Everything that one run has found; what is written as JSON and what every report is made from. */
import type { FeatureRow } from "./features.ts";
import type { IdleRow } from "./idle.ts";
import type { LatencyRow } from "./latency.ts";
import type { Machine } from "./machine.ts";
import type { PeerName } from "./peers/peer.ts";
import type { ReloadResult } from "./reload.ts";
import type { StartRow } from "./start.ts";
import type { ThroughputRow } from "./throughput.ts";
import type { TlsRow } from "./tls/measure.ts";

export interface Results {
	readonly format: 1;
	/** ISO 8601, when the run began. */
	readonly date: string;
	readonly machine: Machine;
	readonly origin: string;
	readonly generator: string;
	readonly rounds: number;
	readonly seconds: number;
	readonly connections: number;
	readonly rate: number;
	/** True for a run that only shows that the harness works. */
	readonly quick: boolean;
	readonly contestants: readonly { readonly name: PeerName; readonly version: string }[];
	readonly missing: readonly { readonly name: PeerName; readonly install: string }[];
	/** Each part is undefined where it was not asked for. */
	readonly throughput: readonly ThroughputRow[] | undefined;
	/** The same with the access log on on all. */
	readonly log: readonly ThroughputRow[] | undefined;
	readonly latency: readonly LatencyRow[] | undefined;
	readonly idle: readonly IdleRow[] | undefined;
	readonly start: readonly StartRow[] | undefined;
	readonly reload: ReloadResult | undefined;
	readonly features: readonly FeatureRow[] | undefined;
	readonly tls: readonly TlsRow[] | undefined;
}
