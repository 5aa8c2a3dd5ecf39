/** `nexus subscriptions`: who gets which events, how far each has come, and what keeps it from going on. */
import { readFile } from "node:fs/promises";
import { messageOf } from "../core/errors.ts";
import { withApi } from "./ca.ts";
import type { CliIo } from "./io.ts";
import { type NexusApi, type NexusFlags, NexusRefusal } from "./nexus-api.ts";
import { shown, tableText } from "./table.ts";

const PAGE = 100;

/** Of the answer, what a person is shown. */
interface SubscriptionView {
	readonly name: string;
	readonly state: string;
	readonly trouble?: string;
	readonly pausedBecause?: string;
	readonly document: { readonly sink?: { readonly kind?: string; readonly url?: string }; readonly strategy?: string };
	readonly lag: { readonly open: number; readonly unread: number; readonly oldestAgeMs: number };
	readonly deliveries: Readonly<Record<string, number>>;
	readonly deadLetters: number;
}

export interface SubscriptionFlags extends NexusFlags {
	readonly json?: boolean;
}

export function runSubscriptionsList(flags: SubscriptionFlags, io: CliIo): Promise<number> {
	return withApi("subscriptions list", flags, io, async (api) => {
		const subscriptions = await allOf(api);
		if (asJson(flags, io)) io.stdout.write(`${JSON.stringify({ subscriptions })}\n`);
		else if (subscriptions.length === 0) io.stdout.write("nobody has subscribed; `nexus subscriptions put NAME FILE` makes one\n");
		else io.stdout.write(tableText(["NAME", "STATE", "SINK", "OPEN", "UNREAD", "OLDEST", "DEAD LETTERS"], subscriptions.map(rowOf)));
		return 0;
	});
}

export function runSubscriptionsShow(name: string, flags: SubscriptionFlags, io: CliIo): Promise<number> {
	return withApi("subscriptions show", flags, io, async (api) => {
		const view = await api.json<SubscriptionView>(pathOf(name));
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify(view)}\n` : detailsText(view));
		return 0;
	});
}

/** `file`: the document as JSON, as the API takes it. */
export function runSubscriptionsPut(name: string, file: string, flags: SubscriptionFlags, io: CliIo): Promise<number> {
	return withApi("subscriptions put", flags, io, async (api) => {
		const view = await api.json<SubscriptionView>(pathOf(name), { method: "PUT", body: await documentOf(file) });
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify(view)}\n` : detailsText(view));
		return 0;
	});
}

export function runSubscriptionsChange(verb: "pause" | "resume", name: string, flags: SubscriptionFlags, io: CliIo): Promise<number> {
	return withApi(`subscriptions ${verb}`, flags, io, async (api) => {
		const view = await api.json<SubscriptionView>(`${pathOf(name)}/${verb}`, { method: "POST" });
		io.stdout.write(asJson(flags, io) ? `${JSON.stringify(view)}\n` : `${shown(name)} is ${view.state}\n`);
		return 0;
	});
}

export function runSubscriptionsDelete(name: string, flags: NexusFlags & { readonly discard?: boolean }, io: CliIo): Promise<number> {
	return withApi("subscriptions delete", flags, io, async (api) => {
		await api.request(`${pathOf(name)}${flags.discard === true ? "?deadLetters=discard" : ""}`, { method: "DELETE" });
		if (io.stdout.isTTY) io.stdout.write(`${shown(name)} is gone, and how far it had come\n`);
		return 0;
	});
}

export function pathOf(name: string): string {
	return `/v1/subscriptions/${encodeURIComponent(name)}`;
}

export function asJson(flags: { readonly json?: boolean }, io: CliIo): boolean {
	return flags.json === true || !io.stdout.isTTY;
}

async function allOf(api: NexusApi): Promise<SubscriptionView[]> {
	const all: SubscriptionView[] = [];
	let after: string | null = "";
	while (after !== null) {
		const query: string = after === "" ? "" : `&after=${encodeURIComponent(after)}`;
		const page: { subscriptions: SubscriptionView[]; next: string | null } = await api.json(`/v1/subscriptions?limit=${PAGE}${query}`);
		all.push(...page.subscriptions);
		after = page.next;
	}
	return all;
}

async function documentOf(file: string): Promise<unknown> {
	try {
		return JSON.parse(await readFile(file, "utf8")) as unknown;
	} catch (thrown) {
		throw new NexusRefusal(`${file} cannot be used: ${messageOf(thrown)}`, 0, "");
	}
}

function rowOf({ name, state, document, lag, deadLetters }: SubscriptionView): string[] {
	return [shown(name), state, sinkText(document), String(lag.open), String(lag.unread), ageText(lag), String(deadLetters)];
}

function detailsText({ name, state, trouble, pausedBecause, document, lag, deliveries, deadLetters }: SubscriptionView): string {
	const counts = Object.entries(deliveries).map(([outcome, count]) => `${count} ${outcome}`);
	const lines: [string, string][] = [
		["name", name],
		["state", [state, trouble, pausedBecause].filter((part) => part !== undefined).join(": ")],
		["sink", sinkText(document)],
		["strategy", document.strategy ?? "direct"],
		["lag", `${lag.unread} events not looked at, ${lag.open} open${lag.open === 0 ? "" : `, the oldest for ${ageText(lag)}`}`],
		["deliveries", `${counts.join(", ")} since this Nexus runs`],
		["dead letters", String(deadLetters)],
	];
	return lines.map(([label, text]) => `${label.padEnd(14)}${shown(text)}\n`).join("");
}

function sinkText({ sink }: SubscriptionView["document"]): string {
	return sink?.url === undefined ? (sink?.kind ?? "-") : `${sink.kind ?? "webhook"} ${shown(sink.url)}`;
}

function ageText({ open, oldestAgeMs }: SubscriptionView["lag"]): string {
	return open === 0 ? "-" : `${Math.round(oldestAgeMs / 1000)} s`;
}
