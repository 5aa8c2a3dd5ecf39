/**
 * A development authority and certificates of services from it, in this folder: npm run certs -- payments orders
 * Root and intermediate are made once and used again; without names it makes them only. Not for production: the root's key lies beside.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { systemClock } from "../src/core/clock.ts";
import { codeOf, messageOf } from "../src/core/errors.ts";
import { writePublicFile, writeSecretFile } from "../src/core/secret-file.ts";
import { AUTHORITY_FILES, type AuthorityDir, existingAuthorityFiles, readAuthorityDir, writeAuthorityDir } from "../src/identity/authority-dir.ts";
import { createRequest, privateKeyPem } from "../src/identity/certificate-request.ts";
import { issueCertificate } from "../src/identity/issue.ts";
import { chainPem, type KeyedChain } from "../src/identity/keyed-chain.ts";
import { createAuthority } from "../src/identity/new-authority.ts";
import { SPIFFE_ID_FAULTS, spiffeIdOf, trustDomainFault } from "../src/identity/spiffe-id.ts";

const USAGE = `usage: npm run certs -- [--trust-domain mesh.local] [--out certs] [--hours 24] [SERVICE...]
writes ca.pem (the root, for everybody), root.key, intermediate.pem, intermediate.key, and SERVICE.pem with SERVICE.key each
`;

/** What went wrong that the person can mend. */
class Refused extends Error {}

if (import.meta.main) {
	try {
		const { values, positionals } = parseArgs({
			allowPositionals: true,
			options: {
				"trust-domain": { type: "string", default: "mesh.local" },
				out: { type: "string", default: fileURLToPath(new URL(".", import.meta.url)) },
				hours: { type: "string", default: "24" },
				help: { type: "boolean", default: false },
			},
		});
		if (values.help) process.stdout.write(USAGE);
		else await main({ trustDomain: values["trust-domain"], folder: values.out, lifetimeMs: Number(values.hours) * 3_600_000, services: positionals });
	} catch (thrown) {
		const isUsage = codeOf(thrown)?.startsWith("ERR_PARSE_ARGS") === true;
		if (!(thrown instanceof Refused) && !isUsage && codeOf(thrown) === undefined) throw thrown;
		process.stderr.write(`dev-ca: ${messageOf(thrown)}\n${isUsage ? USAGE : ""}`);
		process.exitCode = isUsage ? 2 : 1;
	}
}

interface Options {
	readonly trustDomain: string;
	readonly folder: string;
	readonly lifetimeMs: number;
	readonly services: readonly string[];
}

async function main({ trustDomain, folder, lifetimeMs, services }: Options): Promise<void> {
	const fault = trustDomainFault(trustDomain);
	if (fault !== undefined) throw new Refused(`${trustDomain} is no trust domain: ${SPIFFE_ID_FAULTS[fault]}`);
	const nowMs = systemClock.wallMs();
	const { trustDomain: kept, intermediate } = await authorityIn(folder, { trustDomain, nowMs });
	if (kept !== trustDomain) throw new Refused(`the authority in ${folder} is not of ${trustDomain}`);
	for (const service of services) {
		const reading = spiffeIdOf(trustDomain, service);
		// A file is named after it.
		if (!reading.ok || service.includes("/")) throw new Refused(`${service} is no name of a service`);
		const { key, request } = createRequest(reading.id);
		const issued = await issueCertificate(intermediate, { request, id: reading.id, dnsNames: [service, "localhost"], lifetimeMs, nowMs });
		if (!issued.ok) throw new Refused(issued.words);
		await write(folder, service, { chain: issued.chain, key });
	}
}

/** What an earlier run has left, else a new one. */
async function authorityIn(folder: string, options: { trustDomain: string; nowMs: number }): Promise<AuthorityDir> {
	const there = await existingAuthorityFiles(folder);
	if (!there.includes(join(folder, AUTHORITY_FILES.roots)) && !there.includes(join(folder, AUTHORITY_FILES.intermediate))) {
		const written = await writeAuthorityDir(folder, await createAuthority(options));
		process.stdout.write(`${written.join("\n")}\n`);
	}
	const reading = await readAuthorityDir(folder);
	if (!reading.ok) throw new Refused(reading.fault);
	return reading.dir;
}

async function write(folder: string, service: string, { chain, key }: KeyedChain): Promise<void> {
	const [chainPath, keyPath] = [join(folder, `${service}.pem`), join(folder, `${service}.key`)];
	await writeSecretFile(keyPath, privateKeyPem(key));
	await writePublicFile(chainPath, chainPem(chain));
	process.stdout.write(`${chainPath}\n${keyPath}\n`);
}
