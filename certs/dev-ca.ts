/**
 * A development authority and certificates of services from it, in this folder: npm run certs -- payments orders
 * Root and intermediate are made once and used again; without names it makes them only. Not for production: the root's key lies beside.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeSecretFile } from "../src/cli/secret-file.ts";
import { systemClock } from "../src/core/clock.ts";
import { codeOf, messageOf } from "../src/core/errors.ts";
import { isSignatureOf } from "../src/identity/algorithms.ts";
import { createRequest, privateKeyPem } from "../src/identity/certificate-request.ts";
import { createIntermediateAuthority, createRootAuthority, issueCertificate } from "../src/identity/issue.ts";
import { type Authority, authorityOf, chainPem, type KeyedChain, readKeyedChain } from "../src/identity/keyed-chain.ts";
import { SPIFFE_ID_FAULTS, spiffeIdOf, trustDomainFault } from "../src/identity/spiffe-id.ts";

const DAY_MS = 24 * 3_600_000;
const ROOT_LIFETIME_MS = 10 * 365 * DAY_MS;
const INTERMEDIATE_LIFETIME_MS = 365 * DAY_MS;

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
	await mkdir(folder, { recursive: true });
	const nowMs = systemClock.wallMs();
	const root = await kept(folder, "ca", "root", () => createRootAuthority({ trustDomain, lifetimeMs: ROOT_LIFETIME_MS, nowMs }));
	const intermediate = await kept(folder, "intermediate", "intermediate", () =>
		createIntermediateAuthority(root, { trustDomain, lifetimeMs: INTERMEDIATE_LIFETIME_MS, nowMs }),
	);
	if (!root.certificate.names.uris.includes(`spiffe://${trustDomain}`)) throw new Refused(`the authority in ${folder} is not of ${trustDomain}`);
	if (!isSignatureOf(intermediate.certificate, root.certificate.key))
		throw new Refused(`intermediate.pem in ${folder} is not signed by ca.pem: delete it`);
	for (const service of services) {
		const reading = spiffeIdOf(trustDomain, service);
		// A file is named after it.
		if (!reading.ok || service.includes("/")) throw new Refused(`${service} is no name of a service`);
		const { key, request } = createRequest(reading.id);
		const issued = await issueCertificate(intermediate, { request, id: reading.id, dnsNames: [service, "localhost"], lifetimeMs, nowMs });
		if (!issued.ok) throw new Refused(issued.words);
		await write(folder, service, service, { chain: issued.chain, key });
	}
}

/** What an earlier run has left, else a new one. */
async function kept(folder: string, name: string, keyName: string, create: () => Promise<Authority>): Promise<Authority> {
	const [chain, key] = await Promise.all([textOf(join(folder, `${name}.pem`)), textOf(join(folder, `${keyName}.key`))]);
	if (chain === undefined || key === undefined) {
		const made = await create();
		await write(folder, name, keyName, { chain: [made.certificate], key: made.key });
		return made;
	}
	const reading = readKeyedChain(chain, key);
	const authority = reading.ok ? authorityOf(reading.keyed) : reading;
	if (!authority.ok) throw new Refused(`${join(folder, name)}.pem cannot be used: ${authority.fault}`);
	return authority.authority;
}

async function write(folder: string, name: string, keyName: string, { chain, key }: KeyedChain): Promise<void> {
	const [chainPath, keyPath] = [join(folder, `${name}.pem`), join(folder, `${keyName}.key`)];
	await writeSecretFile(keyPath, privateKeyPem(key));
	await writeFile(chainPath, chainPem(chain));
	process.stdout.write(`${chainPath}\n${keyPath}\n`);
}

async function textOf(path: string): Promise<string | undefined> {
	try {
		return await readFile(path, "utf8");
	} catch (thrown) {
		if (codeOf(thrown) !== "ENOENT") throw thrown;
		return undefined;
	}
}
