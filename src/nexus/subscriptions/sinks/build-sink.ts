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
import { WebhookTrust } from "./webhook-tls.ts";

/** What a Nexus was started with. */
export interface Registered {
	readonly functions: Readonly<Record<string, FunctionRegistration>>;
	readonly logs: Readonly<Record<string, EventLog>>;
	/** Undefined: neither a mesh nor certificates that webhooks could name. */
	readonly webhooks?: WebhookTrust;
}

/** What a document names and this Nexus has not. */
export interface Missing {
	readonly path: string;
	readonly message: string;
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

/** Undefined where it has all. */
export function missingPart({ sink }: SubscriptionDocument, registered: Registered, clock: Clock): Missing | undefined {
	const { functions, logs } = registered;
	if (sink.kind === "function" && !Object.hasOwn(functions, sink.name))
		return { path: "sink.name", message: `there is no function ${sink.name} in this Nexus` };
	if (sink.kind === "log" && !Object.hasOwn(logs, sink.name)) return { path: "sink.name", message: `there is no log ${sink.name} in this Nexus` };
	if (sink.kind !== "webhook" || sink.tls === undefined) return undefined;
	const webhooks = webhooksOf(registered, clock);
	for (const identity of [sink.tls.identity, ...(sink.members ?? []).map((member) => member.identity)]) {
		const missing = webhooks.missing(sink.tls, identity);
		if (missing !== undefined) return { path: `sink.tls.${missing.key}`, message: missing.message };
	}
	return undefined;
}

function webhooksOf({ webhooks }: Registered, clock: Clock): WebhookTrust {
	return webhooks ?? new WebhookTrust({ clock });
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
	{ clock, policy, registered, onGone }: SinkParts,
): Member[] {
	const webhooks = webhooksOf(registered, clock);
	const { url, members = [{ name: "", url: url ?? "" }], secret = [] } = sink;
	const secrets = (typeof secret === "string" ? [secret] : secret).map(secretBytes);
	return members.map((member) => ({
		name: member.name,
		weight: "weight" in member ? (member.weight ?? 1) : 1,
		sink: new Webhook({
			url: member.url,
			tls: webhooks.towards(member.url, sink.tls ?? {}, "identity" in member ? member.identity : undefined),
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
