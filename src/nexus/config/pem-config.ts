/** Files of a certificate, its key and roots in the configuration: `{ cert, key, ca }`, alike wherever they stand. Pure. */
import { z } from "zod";
import type { PemPaths } from "../engines/pem-files.ts";

const file = z.string().min(1).max(4096);

export const pemKeys = { cert: file.optional(), key: file.optional(), ca: file.optional() };

type Given = z.output<z.ZodObject<typeof pemKeys>>;

export interface PairFault {
	/** Where it stands. */
	readonly key: "cert" | "key";
	readonly message: string;
	readonly hint: string;
}

/** A certificate is of no use without its key. */
export function pairFault({ cert, key }: Given): PairFault | undefined {
	if ((cert === undefined) === (key === undefined)) return undefined;
	return cert === undefined
		? { key: "key", message: "there is a key without its certificate", hint: "add `cert`" }
		: { key: "cert", message: "there is a certificate without its key", hint: "add `key`; it may be the same file" };
}

/** `resolve` makes a path absolute. */
export function pemPaths({ cert, key, ca }: Given, resolve: (path: string) => string): PemPaths {
	return {
		...(cert === undefined ? {} : { cert: resolve(cert) }),
		...(key === undefined ? {} : { key: resolve(key) }),
		...(ca === undefined ? {} : { ca: resolve(ca) }),
	};
}
