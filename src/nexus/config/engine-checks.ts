/** What of a configuration a log cannot do, and which log and state do not go together: told with its place. Pure. */
import type { Path } from "../../policy/tree.ts";
import { BACKENDS, type Backend, DURABILITIES, type Durability, FEATURE_TITLES, type LogFeature } from "../log/capabilities.ts";
import type { LogChoice, StateChoice } from "./engine-choice.ts";
import type { GivenEngines } from "./engine-config.ts";

export type Tell = (path: Path, message: string, hint: string) => void;

/** The most that each can prove, however its servers are set up. */
const DURABILITY_MOST: Readonly<Record<Backend, Durability>> = {
	embedded: "disk",
	memory: "memory",
	nats: "quorum",
	redis: "disk",
	kafka: "quorum",
	rabbitmq: "os",
};

export function checkRetention({ retention = {} }: GivenEngines, backend: Backend, tell: Tell): void {
	const need = (feature: LogFeature, path: Path): void => {
		const { has, note } = BACKENDS[backend].features[feature];
		if (has) return;
		const others = Object.values(BACKENDS).filter(({ features }) => features[feature].has);
		tell(
			["retention", ...path],
			`the log ${backend} has no ${FEATURE_TITLES[feature]}${note === undefined ? "" : ` (${note})`}`,
			`leave it out, or choose a log that has it: ${others.map((each) => each.backend).join(", ")}`,
		);
	};
	if (retention.maxBytes !== undefined) need("retentionBySize", ["maxBytes"]);
	if (retention.maxAge !== undefined) need("retentionByAge", ["maxAge"]);
	if (retention.maxEvents !== undefined) need("retentionByCount", ["maxEvents"]);
	retention.types?.forEach(({ maxAge, maxEvents, lastPerKey }, i) => {
		if (maxAge !== undefined || maxEvents !== undefined) need("retentionByType", ["types", i]);
		if (lastPerKey === true) need("compaction", ["types", i, "lastPerKey"]);
	});
}

export function checkDurability(wanted: Durability | undefined, log: LogChoice, tell: Tell): void {
	if (wanted === undefined) return;
	const rank = (durability: Durability): number => DURABILITIES.indexOf(durability);
	const { backend } = log;
	if (rank(wanted) > rank(DURABILITY_MOST[backend])) {
		const others = Object.keys(BACKENDS).filter((each) => rank(wanted) <= rank(DURABILITY_MOST[each as Backend]));
		tell(
			["durability"],
			`the log ${backend} promises ${DURABILITY_MOST[backend]} at most (${BACKENDS[backend].durabilityBasis})`,
			`these can promise ${wanted}: ${others.join(", ")}`,
		);
	} else if (log.backend === "nats" && rank(wanted) > rank("os") && log.monitor === undefined) {
		tell(["durability"], "nothing shows that NATS syncs before it acknowledges", "name its monitoring port: `log.nats.monitor: http://HOST:8222`");
	}
}

/** Positions in the log stand in the state, so that one must not outlive the other, nor be shared without it. */
export function checkTogether(log: LogChoice, state: StateChoice, tell: Tell): void {
	const { has: isShared } = BACKENDS[log.backend].features.sharedByNodes;
	if (log.backend === "memory" && state.engine !== "memory") {
		tell(["state"], "the log is in memory, and positions in it would outlive it", "use `state: memory`, or a log that is kept");
	} else if (!isShared && (state.engine === "postgres" || state.engine === "nats")) {
		tell(
			["state"],
			`the log ${log.backend} belongs to one process, and the state ${state.engine} is shared: others would take its positions for theirs`,
			"use `state: sqlite`, or a log that nodes can share: nats, redis, kafka, rabbitmq",
		);
	}
	if (log.backend === "nats" && state.engine === "nats" && log.stream === state.name) {
		tell(["state"], `log and state both want the stream ${state.name}`, "give one of them another name");
	}
}
