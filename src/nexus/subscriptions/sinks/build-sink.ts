/** From the sink of a document to the receivers that it names. */
import type { Clock } from "../../../core/clock.ts";
import type { EventLog } from "../../log/event-log.ts";
import type { Sink } from "../delivery.ts";
import type { DeliveryPolicy } from "../delivery-policy.ts";
import type { Strategy, SubscriptionDocument } from "../document.ts";
import type { Transformer } from "../transform/transformer.ts";
import { type FunctionRegistration, functionSink } from "./function-sink.ts";
import { AllMembers, byKey, type Member, OneOfMembers, roundRobin, weighted } from "./members.ts";
import { OtherLog } from "./other-log.ts";
import { type Transform, TransformedSink } from "./transformed.ts";
import { Webhook } from "./webhook.ts";
import { secretBytes } from "./webhook-message.ts";

/** What a Nexus was started with. */
export interface Registered {
	readonly functions: Readonly<Record<string, FunctionRegistration>>;
	readonly logs: Readonly<Record<string, EventLog>>;
}

export interface SinkParts {
	readonly clock: Clock;
	readonly transformer: Transformer;
	readonly registered: Registered;
	readonly policy: DeliveryPolicy;
	/** A receiver has said that it is gone for good. */
	readonly onGone: () => void;
}

export interface BranchSink {
	/** "" but in a broadcast. */
	readonly member: string;
	/** Undefined: consumers take. */
	readonly sink: Sink | undefined;
	readonly transform: Transform | undefined;
}

/** What a document names and this Nexus has not; undefined where it has all. */
export function missingPart({ sink }: SubscriptionDocument, { functions, logs }: Registered): string | undefined {
	if (sink.kind === "function" && !Object.hasOwn(functions, sink.name)) return `there is no function ${sink.name} in this Nexus`;
	if (sink.kind === "log" && !Object.hasOwn(logs, sink.name)) return `there is no log ${sink.name} in this Nexus`;
	return undefined;
}

/** Members of a broadcast by name; [""] otherwise. */
export function branchMembers({ sink, strategy }: SubscriptionDocument): readonly string[] {
	return strategy === "broadcast" && sink.kind === "webhook" ? (sink.members ?? []).map(({ name }) => name) : [""];
}

/** One sink per branch. */
export function buildSinks(name: string, document: SubscriptionDocument, parts: SinkParts): BranchSink[] {
	const { transformer, clock, registered, policy } = parts;
	const expression = document.transform?.jsonata;
	const transform: Transform | undefined = expression === undefined ? undefined : (json) => transformer.transform(expression, json);
	const finished = (sink: Sink): Sink => (transform === undefined ? sink : new TransformedSink(sink, transform));
	const { sink, strategy = "direct" } = document;
	switch (sink.kind) {
		case "pull":
			return [{ member: "", sink: undefined, transform }];
		case "function": {
			const registration = registered.functions[sink.name];
			if (registration === undefined) throw new Error(`there is no function ${sink.name}`);
			return [{ member: "", sink: finished(functionSink(registration, policy, clock)), transform }];
		}
		case "log": {
			const log = registered.logs[sink.name];
			if (log === undefined) throw new Error(`there is no log ${sink.name}`);
			return [{ member: "", sink: finished(new OtherLog(log)), transform }];
		}
		case "webhook": {
			const members = webhookMembers(name, sink, parts);
			if (strategy === "broadcast") return members.map((member) => ({ member: member.name, sink: finished(member.sink), transform }));
			return [{ member: "", sink: finished(joined(members, strategy, clock)), transform }];
		}
	}
}

function joined(members: readonly Member[], strategy: Strategy, clock: Clock): Sink {
	const [only] = members;
	if (only !== undefined && members.length === 1) return only.sink;
	if (strategy === "fan-out") return new AllMembers(members);
	const pick = strategy === "weighted" ? weighted(members) : strategy === "keyed" ? byKey(members) : roundRobin(members);
	return new OneOfMembers(members, pick, () => clock.monotonicMs());
}

function webhookMembers(
	subscription: string,
	sink: SubscriptionDocument["sink"] & { kind: "webhook" },
	{ clock, policy, onGone }: SinkParts,
): Member[] {
	const { url, members = [{ name: "", url: url ?? "" }], secret = [] } = sink;
	const secrets = (typeof secret === "string" ? [secret] : secret).map(secretBytes);
	return members.map((member) => ({
		name: member.name,
		weight: "weight" in member ? (member.weight ?? 1) : 1,
		sink: new Webhook({
			url: member.url,
			mode: sink.mode ?? "structured",
			headers: sink.headers ?? {},
			secrets,
			origin: sink.handshake?.origin,
			subscription,
			connections: policy.concurrency.max,
			timeoutMs: policy.ackWaitMs,
			clock,
			onGone,
		}),
	}));
}
