/** The part `webhooks` of the configuration: certificates and roots that subscriptions may name. Pure. */
import { z } from "zod";
import { locate, type Node, type Path, type TreeFault } from "../../policy/tree.ts";
import type { PemPaths } from "../engines/pem-files.ts";
import { pairFault, pemKeys, pemPaths } from "./pem-config.ts";

export interface WebhookConfig {
	/** By name; paths are absolute. */
	readonly certificates: Readonly<Record<string, PemPaths>>;
}

/** Each is watched, and each is a partner that somebody knows. */
const CERTIFICATES_MAX = 1_000;
/** What is there without a line in the configuration: the certificate and the roots of the mesh, the roots of the machine. */
export const MESH = "mesh";
export const SYSTEM = "system";
export const CERTIFICATE_NAME = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;

export const webhookKeys = {
	webhooks: z.strictObject({ certificates: z.record(z.string(), z.strictObject(pemKeys)).optional() }).optional(),
};

export const NO_WEBHOOK_CERTIFICATES: WebhookConfig = Object.freeze({ certificates: Object.freeze({}) });

type Given = z.output<z.ZodObject<typeof webhookKeys>>;

/** With faults, added to `faults`. `resolve` makes a path absolute. */
export function webhookConfig({ webhooks }: Given, root: Node, faults: TreeFault[], resolve: (path: string) => string): WebhookConfig {
	const given = Object.entries(webhooks?.certificates ?? {});
	const tell = (path: Path, message: string, hint: string): void => {
		const { node, keySpan } = locate(root, path);
		faults.push({ span: keySpan ?? node, path, message, hint });
	};
	if (given.length > CERTIFICATES_MAX) tell(["webhooks", "certificates"], "there are too many certificates", `at most ${CERTIFICATES_MAX}`);
	for (const [name, files] of given) {
		const path = ["webhooks", "certificates", name];
		if (!CERTIFICATE_NAME.test(name)) tell(path, "is not a name", "1 to 64 letters, digits, `.`, `_` and `-`");
		if (name === MESH || name === SYSTEM) tell(path, `\`${name}\` is there already`, "give it another name");
		if (files.cert === undefined && files.key === undefined && files.ca === undefined) tell(path, "there are no files", "add cert and key, or ca");
		const fault = pairFault(files);
		if (fault !== undefined) tell([...path, fault.key], fault.message, fault.hint);
	}
	return { certificates: Object.fromEntries(given.map(([name, files]) => [name, pemPaths(files, resolve)])) };
}
