/** `nexus subscriptions`: who gets which events, how far each has come, and what keeps it from going on. */
import { readFile } from "node:fs/promises";
import { NexusError, type StartPoint, type Subscription, type SubscriptionDocument } from "../client/nexus-client.ts";
import { messageOf } from "../core/errors.ts";
import type { CliIo } from "./io.ts";
import { CommandRefused, type NexusFlags, withNexus } from "./nexus-api.ts";
import { shown, tableText } from "./table.ts";

export interface SubscriptionFlags extends NexusFlags {
	readonly json?: boolean;
}

export function runSubscriptionsList(flags: SubscriptionFlags, io: CliIo): Promise<number> {
	return withNexus("subscriptions list", flags, io, async ({ client }) => {
		const subscriptions: Subscription[] = [];
		for await (const subscription of client.subscriptions.list()) subscriptions.push(subscription);
		if (asJson(flags, io)) io.stdout.write(`${JSON.stringify({ subscriptions })}\n`);
		else if (subscriptions.length === 0) io.stdout.write("nobody has subscribed; `nexus subscriptions put NAME FILE` makes one\n");
		else io.stdout.write(tableText(["NAME", "STATE", "SINK", "OPEN", "UNREAD", "OLDEST", "DEAD LETTERS"], subscriptions.map(rowOf)));
		return 0;
	});
}

export function runSubscriptionsShow(name: string, flags: SubscriptionFlags, io: CliIo): Promise<number> {
	return withNexus("subscriptions show", flags, io, async ({ client }) => {
		const view = await client.subscriptions.get(name);
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify(view)}\n` : detailsText(view));
		return 0;
	});
}

/** `file`: the document as JSON, as the API takes it. */
export function runSubscriptionsPut(name: string, file: string, flags: SubscriptionFlags, io: CliIo): Promise<number> {
	return withNexus("subscriptions put", flags, io, async ({ client }) => {
		const view = await client.subscriptions.put(name, await documentOf(file));
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify(view)}\n` : detailsText(view));
		return 0;
	});
}

export function runSubscriptionsChange(verb: "pause" | "resume", name: string, flags: SubscriptionFlags, io: CliIo): Promise<number> {
	return withNexus(`subscriptions ${verb}`, flags, io, async ({ client }) => {
		const view = await client.subscriptions[verb](name);
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify(view)}\n` : `${shown(name)} is ${view.state}\n`);
		return 0;
	});
}

/** `from`: `new`, `all`, a sequence to begin with, or a time. */
export function runSubscriptionsSeek(name: string, from: string, flags: SubscriptionFlags, io: CliIo): Promise<number> {
	return withNexus("subscriptions seek", flags, io, async ({ client }) => {
		const view = await client.subscriptions.seek(name, startOf(from));
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify(view)}\n` : detailsText(view));
		return 0;
	});
}

export function runSubscriptionsDelete(name: string, flags: NexusFlags & { readonly discard?: boolean }, io: CliIo): Promise<number> {
	return withNexus("subscriptions delete", flags, io, async ({ client }) => {
		await client.subscriptions.delete(name, { discardDeadLetters: flags.discard === true }).catch((thrown: unknown) => {
			if (!(thrown instanceof NexusError) || thrown.reason !== "dead_letters") throw thrown;
			throw new CommandRefused(
				`${shown(name)} has dead letters: \`nexus dead-letters replay ${shown(name)}\` first, or delete it with them by --discard`,
			);
		});
		if (io.stdout.isTTY) io.stdout.write(`${shown(name)} is gone, and how far it had come\n`);
		return 0;
	});
}

export function asJson(flags: { readonly json?: boolean }, io: CliIo): boolean {
	return flags.json === true || !io.stdout.isTTY;
}

function startOf(from: string): StartPoint {
	if (from === "new" || from === "all") return from;
	return /^\d{1,15}$/.test(from) ? { sequence: Number(from) } : { time: from };
}

/** What is no such document is for Nexus to say. */
async function documentOf(file: string): Promise<SubscriptionDocument> {
	try {
		return JSON.parse(await readFile(file, "utf8")) as SubscriptionDocument;
	} catch (thrown) {
		throw new CommandRefused(`${file} cannot be used: ${messageOf(thrown)}`);
	}
}

function rowOf({ name, state, document, lag, deadLetters }: Subscription): string[] {
	return [shown(name), state, sinkText(document), String(lag.open), String(lag.unread), ageText(lag), String(deadLetters)];
}

function detailsText({ name, state, trouble, pausedBecause, document, lag, deliveries, deadLetters, node }: Subscription): string {
	const counts = Object.entries(deliveries).map(([outcome, count]) => `${count} ${outcome}`);
	const lines: [string, string][] = [
		["name", name],
		["state", [state, trouble, pausedBecause].filter((part) => part !== undefined).join(": ")],
		["sink", sinkText(document)],
		["strategy", document.strategy ?? "direct"],
		["lag", `${lag.unread} events not looked at, ${lag.open} open${lag.open === 0 ? "" : `, the oldest for ${ageText(lag)}`}`],
		["deliveries", `${counts.join(", ")} since this Nexus runs`],
		["dead letters", String(deadLetters)],
		...(node === undefined ? [] : [["node", node] as [string, string]]),
	];
	return lines.map(([label, text]) => `${label.padEnd(14)}${shown(text)}\n`).join("");
}

function sinkText({ sink }: SubscriptionDocument): string {
	return sink.kind === "webhook" && sink.url !== undefined ? `webhook ${shown(sink.url)}` : sink.kind;
}

function ageText({ open, oldestAgeMs }: Subscription["lag"]): string {
	return open === 0 ? "-" : `${Math.round(oldestAgeMs / 1000)} s`;
}
