/** An authority on disk, `ca.pem root.key intermediate.pem intermediate.key`: made by commands, read by whoever issues. */
import { access, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../core/errors.ts";
import { writePublicFile, writeSecretFile } from "../core/secret-file.ts";
import { isSignatureOf } from "./algorithms.ts";
import type { Certificate } from "./certificate.ts";
import { readCertificate } from "./certificate.ts";
import { privateKeyPem } from "./certificate-request.ts";
import { type Authority, authorityOf, chainPem, readKeyedChain } from "./keyed-chain.ts";
import { readPem } from "./pem.ts";
import { parseSpiffeId, trustDomainFault } from "./spiffe-id.ts";

const DAY_MS = 24 * 3_600_000;
/** A root is replaced by people who have forgotten how; a rotation by `nexus ca rotate --root` is for sooner. */
export const ROOT_LIFETIME_MS = 10 * 365 * DAY_MS;
export const INTERMEDIATE_LIFETIME_MS = 365 * DAY_MS;

/** The first is what issues; others in ca.pem are trusted beside it while one follows another. */
const ROOTS_MAX = 8;

export const AUTHORITY_FILES = Object.freeze({
	roots: "ca.pem",
	rootKey: "root.key",
	intermediate: "intermediate.pem",
	intermediateKey: "intermediate.key",
});

/** Names in one folder; `AUTHORITY_FILES`, or those of an authority that follows. */
export type AuthorityFileNames = { readonly [K in keyof typeof AUTHORITY_FILES]: string };

export interface AuthorityDir {
	readonly trustDomain: string;
	/** All that are trusted. The first one is above the intermediate. */
	readonly roots: readonly [Certificate, ...Certificate[]];
	readonly intermediate: Authority;
	/** Signs intermediates; undefined where its key is kept away. */
	readonly root: Authority | undefined;
}

export type AuthorityDirReading = { readonly ok: true; readonly dir: AuthorityDir } | { readonly ok: false; readonly fault: string };

/** Every fault is one sentence that names the file, and never quotes a key. */
export async function readAuthorityDir(dir: string, names: AuthorityFileNames = AUTHORITY_FILES): Promise<AuthorityDirReading> {
	const file = (name: string): string => join(dir, name);
	const [rootsPem, rootKey, chain, key] = await Promise.all([
		textOf(file(names.roots)),
		textOf(file(names.rootKey)),
		textOf(file(names.intermediate)),
		textOf(file(names.intermediateKey)),
	]);
	if (rootsPem === undefined) return { ok: false, fault: `there is no ${file(names.roots)}; \`nexus ca init --dir ${dir}\` makes an authority` };
	if (chain === undefined || key === undefined)
		return {
			ok: false,
			fault: `${file(chain === undefined ? names.intermediate : names.intermediateKey)} is missing: without it nothing can be issued`,
		};
	const roots = readRoots(rootsPem);
	if (typeof roots === "string") return { ok: false, fault: `${file(names.roots)} cannot be used: ${roots}` };
	const intermediate = readAuthority(chain, key);
	if (typeof intermediate === "string") return { ok: false, fault: `${file(names.intermediate)} cannot be used: ${intermediate}` };
	const [first] = roots;
	const top = intermediate.chain.at(-1) ?? intermediate.certificate;
	if (!isSignatureOf(top, first.key))
		return { ok: false, fault: `${file(names.intermediate)} is not signed by ${names.roots}: delete it, or put its root first` };
	const trustDomain = trustDomainOf(first);
	if (trustDomain === undefined) return { ok: false, fault: `${file(names.roots)} names no trust domain (a URI spiffe://DOMAIN among its names)` };
	const root = rootKey === undefined ? undefined : readAuthority(chainPem([first]), rootKey);
	if (typeof root === "string") return { ok: false, fault: `${file(names.rootKey)} cannot be used: ${root}` };
	return { ok: true, dir: { trustDomain, roots, intermediate, root } };
}

export interface NewAuthority {
	readonly root: Authority;
	readonly intermediate: Authority;
}

/** Keys first: a certificate without its key would look like an authority. Resolves with the paths that were written. */
export async function writeAuthorityDir(
	dir: string,
	{ root, intermediate }: Partial<NewAuthority>,
	names: AuthorityFileNames = AUTHORITY_FILES,
): Promise<string[]> {
	await mkdir(dir, { recursive: true });
	const written: string[] = [];
	const write = async (writeFile: typeof writeSecretFile, name: string, text: string): Promise<void> => {
		await writeFile(join(dir, name), text);
		written.push(join(dir, name));
	};
	if (root !== undefined) await write(writeSecretFile, names.rootKey, privateKeyPem(root.key));
	if (intermediate !== undefined) await write(writeSecretFile, names.intermediateKey, privateKeyPem(intermediate.key));
	if (intermediate !== undefined) await write(writePublicFile, names.intermediate, chainPem(intermediate.chain));
	if (root !== undefined) await write(writePublicFile, names.roots, chainPem([root.certificate]));
	return written;
}

/** Those of the files that are there. */
export async function existingAuthorityFiles(dir: string, names: AuthorityFileNames = AUTHORITY_FILES): Promise<string[]> {
	const paths = Object.values(names).map((name) => join(dir, name));
	const there = await Promise.all(paths.map((path) => access(path).then(() => true, missing)));
	return paths.filter((_, i) => there[i]);
}

/** An authority is an SVID of the domain alone (X509-SVID 3.2). */
export function trustDomainOf({ names }: Certificate): string | undefined {
	for (const uri of names.uris) {
		const domain = uri.startsWith("spiffe://") && !parseSpiffeId(uri).ok ? uri.slice("spiffe://".length) : "";
		if (trustDomainFault(domain) === undefined) return domain;
	}
	return undefined;
}

/** Or what is wrong with them. */
export function readRoots(pem: string): readonly [Certificate, ...Certificate[]] | string {
	const blocks = readPem(pem, "CERTIFICATE", ROOTS_MAX);
	if (!blocks.ok) return blocks.fault;
	const roots: Certificate[] = [];
	for (const block of blocks.blocks) {
		const reading = readCertificate(block);
		if (!reading.ok) return reading.fault.words;
		if (!reading.certificate.ca) return "it holds a certificate that is no authority's";
		roots.push(reading.certificate);
	}
	const [first, ...others] = roots;
	return first === undefined ? "it holds no certificate" : [first, ...others];
}

function readAuthority(chain: string, key: string): Authority | string {
	const reading = readKeyedChain(chain, key);
	const authority = reading.ok ? authorityOf(reading.keyed) : reading;
	return authority.ok ? authority.authority : authority.fault;
}

async function textOf(path: string): Promise<string | undefined> {
	try {
		return await readFile(path, "utf8");
	} catch (thrown) {
		if (codeOf(thrown) !== "ENOENT") throw thrown;
		return undefined;
	}
}

function missing(thrown: unknown): boolean {
	if (codeOf(thrown) !== "ENOENT") throw thrown;
	return false;
}
