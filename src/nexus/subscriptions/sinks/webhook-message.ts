/** An event as the request that brings it: CloudEvents over HTTP 1.0 (structured or binary), and its signature (Standard Webhooks 1.0). Pure. */
import { createHmac } from "node:crypto";
import type { CloudEvent } from "../../../events/cloud-event.ts";
import { STRUCTURED_TYPE } from "../../../events/http-binding.ts";

export type ContentMode = "structured" | "binary";

export interface WebhookMessage {
	readonly headers: Readonly<Record<string, string>>;
	readonly body: Buffer;
}

const EMPTY = Buffer.alloc(0);

export function webhookMessageOf(json: Buffer, mode: ContentMode): WebhookMessage {
	if (mode === "structured") return { headers: { "content-type": `${STRUCTURED_TYPE}; charset=utf-8` }, body: json };
	const { data, data_base64, datacontenttype, ...attributes } = JSON.parse(json.toString()) as CloudEvent & Record<string, unknown>;
	const headers: Record<string, string> = {};
	for (const [name, value] of Object.entries(attributes)) {
		if (value !== null && value !== undefined) headers[`ce-${name}`] = fieldValue(String(value));
	}
	if (data === undefined && data_base64 === undefined) {
		if (datacontenttype !== undefined) headers["content-type"] = datacontenttype;
		return { headers, body: EMPTY };
	}
	// JSON format section 3.1: data without a content type is JSON.
	const type = datacontenttype ?? "application/json";
	headers["content-type"] = type;
	if (data_base64 !== undefined) return { headers, body: Buffer.from(data_base64, "base64") };
	const isJson = /^[^;]*[/+]json\s*(;|$)/i.test(type);
	return { headers, body: Buffer.from(typeof data === "string" && !isJson ? data : JSON.stringify(data)) };
}

/** `secrets`: each one that may be in use, the newest first; a receiver needs to know one of them. */
export function signatureHeaders(id: string, timestampMs: number, body: Buffer, secrets: readonly Buffer[]): Readonly<Record<string, string>> {
	const timestamp = String(Math.floor(timestampMs / 1000));
	const signatures = secrets.map((secret) => `v1,${createHmac("sha256", secret).update(`${id}.${timestamp}.`).update(body).digest("base64")}`);
	return { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures.join(" ") };
}

/** `whsec_` and base64, as Standard Webhooks writes secrets; anything else is taken as it stands. */
export function secretBytes(text: string): Buffer {
	return text.startsWith("whsec_") ? Buffer.from(text.slice("whsec_".length), "base64") : Buffer.from(text);
}

/** HTTP binding section 3.1.3.2: space, quote, percent and whatever is not printable ASCII as percent-encoded UTF-8. */
function fieldValue(value: string): string {
	return value.toWellFormed().replace(/[^\x21-\x7e]|["%]/gu, (character) => [...Buffer.from(character)].map(percent).join(""));
}

function percent(byte: number): string {
	return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}
