/**
 * The authority's folder while one authority follows another. What comes next stands beside the four files, and takes their place in the end;
 * each function may be cut off anywhere, and is run again at the next start.
 */
import { readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../../core/errors.ts";
import { syncDirectory, writePublicFile } from "../../core/secret-file.ts";
import {
	AUTHORITY_FILES,
	type AuthorityDir,
	type NewAuthority,
	readAuthorityDir,
	readRoots,
	writeAuthorityDir,
} from "../../identity/authority-dir.ts";
import type { Certificate } from "../../identity/certificate.ts";
import { type Authority, authorityOf, chainPem, readKeyedChain } from "../../identity/keyed-chain.ts";

const NEXT_FILES = Object.freeze({
	roots: "next-ca.pem",
	rootKey: "next-root.key",
	intermediate: "next-intermediate.pem",
	intermediateKey: "next-intermediate.key",
});

/** The root is undefined where it stays the same. */
export interface NextAuthority {
	readonly root: Certificate | undefined;
	readonly intermediate: Authority;
}

/** Throws a readable error. */
export async function loadAuthority(dir: string): Promise<AuthorityDir> {
	const reading = await readAuthorityDir(dir);
	if (!reading.ok) throw new Error(reading.fault);
	return reading.dir;
}

/** Of nothing that was there before is anything left: it belonged to a rotation that never began. */
export async function writeNext(dir: string, next: Partial<NewAuthority>): Promise<void> {
	await removeNext(dir);
	await writeAuthorityDir(dir, next, NEXT_FILES);
}

export async function removeNext(dir: string): Promise<void> {
	await Promise.all(Object.values(NEXT_FILES).map((name) => rm(join(dir, name), { force: true })));
}

/** Throws a readable error: a rotation has begun, and what it is about is missing. */
export async function loadNext(dir: string): Promise<NextAuthority> {
	const [chain, key, roots] = await Promise.all([
		readFile(join(dir, NEXT_FILES.intermediate), "utf8"),
		readFile(join(dir, NEXT_FILES.intermediateKey), "utf8"),
		textOf(join(dir, NEXT_FILES.roots)),
	]);
	const reading = readKeyedChain(chain, key);
	const authority = reading.ok ? authorityOf(reading.keyed) : reading;
	if (!authority.ok) throw new Error(`${join(dir, NEXT_FILES.intermediate)} cannot be used: ${authority.fault}`);
	return { root: roots === undefined ? undefined : firstOf(roots, join(dir, NEXT_FILES.roots)), intermediate: authority.authority };
}

/** ca.pem names the next root as well, behind the one that issues: also for those who read it as a file. Idempotent. */
export async function trustNext(dir: string, { root }: NextAuthority): Promise<void> {
	if (root === undefined) return;
	const roots = await rootsIn(dir);
	if (roots.some(({ fingerprint }) => fingerprint === root.fingerprint)) return;
	await writePublicFile(join(dir, AUTHORITY_FILES.roots), chainPem([...roots, root]));
}

/** What came next is what is: keys first, and the sign that there is anything to do last. Idempotent. */
export async function promoteNext(dir: string): Promise<void> {
	const nextRoots = await textOf(join(dir, NEXT_FILES.roots));
	await moved(dir, NEXT_FILES.intermediateKey, AUTHORITY_FILES.intermediateKey);
	await moved(dir, NEXT_FILES.intermediate, AUTHORITY_FILES.intermediate);
	if (nextRoots !== undefined) {
		await moved(dir, NEXT_FILES.rootKey, AUTHORITY_FILES.rootKey);
		const next = firstOf(nextRoots, join(dir, NEXT_FILES.roots));
		const [old, ...others] = await rootsIn(dir);
		if (old.fingerprint !== next.fingerprint) {
			const kept = others.filter(({ fingerprint }) => fingerprint !== next.fingerprint);
			await writePublicFile(join(dir, AUTHORITY_FILES.roots), chainPem([next, ...kept]));
		}
		await rm(join(dir, NEXT_FILES.roots), { force: true });
	}
	await syncDirectory(dir);
}

async function rootsIn(dir: string): Promise<readonly [Certificate, ...Certificate[]]> {
	const path = join(dir, AUTHORITY_FILES.roots);
	const roots = readRoots(await readFile(path, "utf8"));
	if (typeof roots === "string") throw new Error(`${path} cannot be used: ${roots}`);
	return roots;
}

function firstOf(pem: string, path: string): Certificate {
	const roots = readRoots(pem);
	if (typeof roots === "string") throw new Error(`${path} cannot be used: ${roots}`);
	return roots[0];
}

async function moved(dir: string, from: string, to: string): Promise<void> {
	try {
		await rename(join(dir, from), join(dir, to));
	} catch (thrown) {
		// Moved already, before we were cut off.
		if (codeOf(thrown) !== "ENOENT") throw thrown;
	}
}

async function textOf(path: string): Promise<string | undefined> {
	try {
		return await readFile(path, "utf8");
	} catch (thrown) {
		if (codeOf(thrown) !== "ENOENT") throw thrown;
		return undefined;
	}
}
