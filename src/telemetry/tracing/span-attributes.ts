/** An exchange and its tries in the words of OpenTelemetry's HTTP semantic conventions (1.45); what they do not name is `nexus.*`. */
import type { Reason } from "../../core/reasons.ts";
import type { Decision } from "../../policy/decision-trace.ts";
import { placeText } from "../../policy/explain.ts";
import { normalHost } from "../../policy/host-name.ts";
import type { ExchangeRecord } from "../access-record.ts";
import { REDACTED } from "../redact.ts";
import type { SpanStart } from "./span-source.ts";

export type SpanAttributes = Record<string, string | number | boolean | string[]>;

// RFC 9110 section 9 and RFC 5789; by the conventions every other method is `_OTHER`, as names must not be without number.
const METHODS: ReadonlySet<string> = new Set(["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"]);
// Those that the conventions name, and what is called a secret everywhere.
const SECRET_PARAMETER = /^(awsaccesskeyid|signature|sig|x-goog-signature)$|passw|secret|token|api[-_]?key/i;
// A target has up to 16 KiB; whoever searches traces reads its beginning.
export const TEXT_CHARS_MAX = 1024;
// Such a request has a loop, not a story.
const DECISIONS_MAX = 64;

/** Low in number, as the conventions ask: the method, and the route where one of the policy is known. */
export function spanName(method: string, route: string): string {
	const known = METHODS.has(method) ? method : "HTTP";
	return route === "" ? known : `${known} ${route}`;
}

/** Of the span of an exchange, when the head has come. */
export function startAttributes({ method, target, host, direction, service }: SpanStart): SpanAttributes {
	const { path, query } = splitTarget(target);
	const attributes: SpanAttributes = {
		...methodAttributes(method),
		"url.scheme": "http",
		"url.path": path,
		"nexus.direction": direction,
		"nexus.service": service,
	};
	if (query !== "") attributes["url.query"] = query;
	addServer(attributes, host);
	return attributes;
}

/** Of the span of an exchange, when it is over. */
export function endAttributes(record: ExchangeRecord, decisions: readonly Decision[]): SpanAttributes {
	const attributes: SpanAttributes = {
		"nexus.upstream": record.upstream,
		"nexus.attempts": record.attempts,
		"nexus.request_id": record.requestId,
		"http.request.body.size": record.bytesIn,
		"http.response.body.size": record.bytesOut,
	};
	if (record.clientAddress !== "") attributes["client.address"] = record.clientAddress;
	if (record.route !== "") attributes["nexus.route"] = record.route;
	if (record.endpoint !== "") attributes["nexus.endpoint"] = record.endpoint;
	addOutcome(attributes, record.status, record.reason, record.detail, 500);
	if (decisions.length !== 0) attributes["nexus.decisions"] = decisions.slice(0, DECISIONS_MAX).map(decisionText);
	return attributes;
}

/** Of the span of one try, when it begins. */
export function attemptAttributes({ method, target }: SpanStart, n: number, endpoint: string): SpanAttributes {
	const { path, query } = splitTarget(target);
	const attributes: SpanAttributes = { ...methodAttributes(method), "nexus.endpoint": endpoint };
	if (!endpoint.startsWith("unix:")) attributes["url.full"] = cut(`http://${endpoint}${path}${query === "" ? "" : `?${query}`}`);
	addServer(attributes, endpoint);
	if (n > 1) attributes["http.request.resend_count"] = n - 1;
	return attributes;
}

/** Of the span of one try, when it is over. */
export function attemptEndAttributes(status: number, reason: Reason | undefined, detail: string): SpanAttributes {
	const attributes: SpanAttributes = {};
	addOutcome(attributes, status, reason, detail, 400);
	return attributes;
}

/** Whether a span is marked as failed. By the conventions a server blames itself from 500 on, a client from 400 on. */
export function isError(status: number, kind: "server" | "client"): boolean {
	return status === 0 || status >= (kind === "server" ? 500 : 400);
}

function methodAttributes(method: string): SpanAttributes {
	if (METHODS.has(method)) return { "http.request.method": method };
	return { "http.request.method": "_OTHER", "http.request.method_original": cut(method) };
}

function addOutcome(attributes: SpanAttributes, status: number, reason: Reason | undefined, detail: string, errorFrom: number): void {
	if (status !== 0) attributes["http.response.status_code"] = status;
	if (reason !== undefined) attributes["error.type"] = reason;
	else if (status >= errorFrom) attributes["error.type"] = String(status);
	if (detail !== "") attributes["nexus.detail"] = cut(detail);
}

/** `authority`: `host:port` as in a Host field or the name of an endpoint. */
function addServer(attributes: SpanAttributes, authority: string): void {
	if (authority === "") return;
	if (authority.startsWith("unix:")) {
		attributes["server.address"] = authority.slice("unix:".length);
		return;
	}
	attributes["server.address"] = normalHost(authority);
	const port = /:(\d{1,5})$/.exec(authority)?.[1];
	if (port !== undefined) attributes["server.port"] = Number(port);
}

/** Of an absolute target too; secrets in the query are replaced. */
function splitTarget(target: string): { path: string; query: string } {
	const relative = target.startsWith("/") ? target : target.replace(/^https?:\/\/[^/?#]*/i, "");
	const at = relative.indexOf("?");
	const path = at === -1 ? relative : relative.slice(0, at);
	return { path: cut(path === "" ? "/" : path), query: at === -1 ? "" : withoutSecrets(cut(relative.slice(at + 1))) };
}

function withoutSecrets(query: string): string {
	const parameters = query.split("&").map((parameter) => {
		const at = parameter.indexOf("=");
		return at > 0 && SECRET_PARAMETER.test(parameter.slice(0, at)) ? `${parameter.slice(0, at)}=${REDACTED}` : parameter;
	});
	return parameters.join("&");
}

function decisionText({ stage, verdict, atMs, text, place }: Decision): string {
	return cut(`${stage} ${verdict} @${atMs}ms: ${text}${place === undefined ? "" : ` (${placeText(place)})`}`);
}

function cut(text: string): string {
	return text.length > TEXT_CHARS_MAX ? `${text.slice(0, TEXT_CHARS_MAX - 1)}…` : text;
}
