/** The key `tls` of a webhook: what it may say, and what of it contradicts itself. */
import { z } from "@hono/zod-openapi";
import { isRefusal, type Refusal } from "../../../policy/fault.ts";
import { parseHostName, parseServiceIdentity } from "../../../policy/values.ts";
import { CERTIFICATE_NAME, MESH, SYSTEM } from "../../config/webhook-config.ts";

const NAME_FAULT = "is no name of a certificate";

function parsed(parse: (text: string) => string | Refusal) {
	return z
		.string()
		.max(2048)
		.transform((given, context): string => {
			const value = parse(given);
			if (!isRefusal(value)) return value;
			context.addIssue({ code: "custom", message: `${value.refused}: ${value.hint}` });
			return z.NEVER;
		});
}

export const identity = parsed(parseServiceIdentity).openapi({
	type: "string",
	description: "The service that the receiver must prove to be: its name in this mesh, or a SPIFFE ID. Instead of its host name.",
	example: "billing",
});

export interface TlsFault {
	readonly path: (string | number)[];
	readonly message: string;
}

function identityFaults(ca: string | undefined, identity: string | undefined): TlsFault[] {
	if (identity === undefined || ca === undefined || ca === MESH) return [];
	if (ca === SYSTEM) return [{ path: ["ca"], message: "is system, which proves no identity: those have roots of their own" }];
	if (identity.includes("://")) return [];
	return [{ path: ["identity"], message: `needs its trust domain, as ${ca} may be of any: write spiffe://DOMAIN/${identity}` }];
}

export const webhookTls = z
	.strictObject({
		client: z
			.string()
			.regex(CERTIFICATE_NAME, NAME_FAULT)
			.optional()
			.openapi({ description: "What the receiver is shown: `mesh`, the certificate of Nexus, or a name of `webhooks.certificates`. Default: none." }),
		ca: z
			.string()
			.regex(CERTIFICATE_NAME, NAME_FAULT)
			.optional()
			.openapi({ description: "The roots that it is checked against: `system`, `mesh`, or a name of `webhooks.certificates`." }),
		serverName: parsed(parseHostName).optional().openapi({
			type: "string",
			description: "Sent as SNI, and the name in its certificate unless `identity` is given. Default: the host of the URL.",
		}),
		identity: identity.optional(),
	})
	.superRefine(({ ca, identity }, context) => {
		for (const { path, message } of identityFaults(ca, identity)) context.addIssue({ code: "custom", path, message });
	})
	.openapi("WebhookTls", {
		description: "How the receiver is reached by TLS. Default: no certificate is shown, and its host name is checked with `system`.",
	});

export type WebhookTlsDocument = z.output<typeof webhookTls>;

interface Receiver {
	readonly url: string;
	readonly identity?: string | undefined;
}

/** Of a webhook as a whole, each with its path in it. */
export function tlsFaults(tls: WebhookTlsDocument | undefined, url: string | undefined, members: readonly Receiver[] = []): TlsFault[] {
	const plain = (text: string | undefined): boolean => text !== undefined && URL.parse(text)?.protocol === "http:";
	const faults: TlsFault[] = [];
	if (tls !== undefined && plain(url)) faults.push({ path: ["url"], message: "is http:, and tls is given" });
	members.forEach(({ url, identity }, i) => {
		const at = (key: string, message: string) => faults.push({ path: ["members", i, key], message });
		if (tls !== undefined && plain(url)) at("url", "is http:, and tls is given");
		if (identity === undefined) return;
		if (tls === undefined) at("identity", "acts with tls alone: add it to the sink");
		else for (const { message } of identityFaults(tls.ca, identity)) at("identity", message);
	});
	return faults;
}

/** The roots that are meant: an identity is proven by those of the mesh, a host name by those of the system. */
export function rootsOf(ca: string | undefined, identity: string | undefined): string {
	return ca ?? (identity === undefined ? SYSTEM : MESH);
}
