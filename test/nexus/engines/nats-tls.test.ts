/** The log on a NATS that lets in only users, and only over mutual TLS; and each kind of login. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { nkeys } from "@nats-io/transport-node";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { loadNexusConfig } from "../../../src/nexus/config/config.ts";
import { logConfig } from "../../../src/nexus/engines/engines.ts";
import { openLog } from "../../../src/nexus/log/open-log.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import { freePorts, temporaryFolder } from "../../support/processes.ts";
import { Server, skipWithout } from "../log/servers.ts";
import { batchOf, temporaryDir } from "../support.ts";
import { PASSWORD, SECRETS, USER, WRONG_PASSWORD } from "./papers.ts";
import { engineSecurity, FIRST, type ServerFiles } from "./security.ts";

const skip = skipWithout("nats-server");

async function startWith(t: TestContext, folder: string, port: number, settings: string): Promise<Server> {
	const [http] = await freePorts(1);
	const file = join(folder, "nats.conf");
	const common = `listen: 127.0.0.1:${port}\nhttp: 127.0.0.1:${http}\njetstream { store_dir: "${folder}/js", max_mem: 64MB, max_file: 2GB }\n`;
	writeFileSync(file, common + settings);
	const isReady = (): Promise<boolean> =>
		fetch(`http://127.0.0.1:${http}/healthz?js-enabled-only=true`).then(
			(response) => response.ok,
			() => false,
		);
	return Server.start(t, { command: ["nats-server", "-c", file], folder, isReady });
}

engineSecurity("nats", {
	skip,
	async make(t, papers) {
		const [port = 0, plainPort = 0] = await freePorts(2);
		const folder = temporaryFolder(t, "nats-tls");
		const users = (password: string): string => `authorization { users: [ { user: ${USER}, password: "${password}" } ] }\n`;
		await startWith(t, temporaryFolder(t, "nats-plain"), plainPort, users(PASSWORD));
		const start = ({ server, ca, password }: ServerFiles): Promise<Server> => {
			const [cert, key, roots] = [papers.path(`${server}.crt`), papers.path(`${server}.key`), papers.path(ca)];
			const tls = `tls { cert_file: "${cert}", key_file: "${key}", ca_file: "${roots}", verify: true }\n`;
			return startWith(t, folder, port, tls + users(password));
		};
		let running = await start(FIRST);
		return {
			port,
			plainPort,
			kill: () => running.kill(),
			async start(files) {
				running = await start(files);
			},
		};
	},
	config: ({ host, port, password, tls }) =>
		`log: { nats: { servers: ["${host}:${port}"], user: ${USER}, passwordFile: ${password}${tls === undefined ? "" : `, tls: ${tls}`} } }`,
	plain: /server does not support 'tls'/,
	refused: [["a server that wants TLS, of which nothing is said", { tls: undefined }, /TLS failed \(tls_unknown_ca\)/]],
});

/** As `nsc` makes it: signed by its issuer's key. */
function jwt(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, nats: object): string {
	const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
	const claims = { jti: issuer.getPublicKey(), iat: 1_700_000_000, iss: issuer.getPublicKey(), name: "test", sub: subject.getPublicKey(), nats };
	const signed = `${part({ typ: "JWT", alg: "ed25519-nkey" })}.${part(claims)}`;
	return `${signed}.${Buffer.from(issuer.sign(Buffer.from(signed))).toString("base64url")}`;
}

test("nats: a token, a key and a file of credentials are each a login, for log and state alike, and a wrong one is told", { skip }, async (t) => {
	const dir = temporaryDir(t);
	const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
	const [operator, system, account] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount()];
	const [user, stranger] = [nkeys.createUser(), nkeys.createUser()];
	const limits = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
	const accountOf = (of: nkeys.KeyPair, more: object): string =>
		`${of.getPublicKey()}: ${jwt(operator, of, { type: "account", version: 2, limits: { ...limits, ...more } })}`;
	const userJwt = jwt(account, user, { type: "user", version: 2, subs: -1, data: -1, payload: -1 });
	const creds = (seed: string): string =>
		`-----BEGIN NATS USER JWT-----\n${userJwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`;
	const operatorMode = [
		`operator: ${jwt(operator, operator, { type: "operator", version: 2 })}`,
		`system_account: ${system.getPublicKey()}`,
		"resolver: MEMORY",
		`resolver_preload: { ${accountOf(system, {})}, ${accountOf(account, { mem_storage: -1, disk_storage: -1 })} }\n`,
	].join("\n");
	const cases: readonly [key: string, settings: string, right: string, wrong: string][] = [
		["tokenFile", `authorization { token: "${PASSWORD}" }\n`, PASSWORD, WRONG_PASSWORD],
		["nkeyFile", `authorization { users: [ { nkey: ${user.getPublicKey()} } ] }\n`, text(user.getSeed()), text(stranger.getSeed())],
		["credsFile", operatorMode, creds(text(user.getSeed())), creds(text(stranger.getSeed()))],
	];
	for (const [key, settings, right, wrong] of cases) {
		const [port = 0] = await freePorts(1);
		const server = await startWith(t, temporaryFolder(t, "nats-login"), port, settings);
		const loaded = loadNexusConfig(`log: { nats: { servers: ["localhost:${port}"], ${key}: secret } }`, join(dir, "nexus.yaml"), {});
		assert.ok(loaded.ok, JSON.stringify(loaded));
		const { log: choice, state, dataDir } = loaded.config;
		const open = () => openLog(logConfig(choice, dataDir), { clock: systemClock, log: silentLogger });

		writeFileSync(join(dir, "secret"), wrong);
		const thrown = await open().then(
			() => assert.fail(`${key}: a stranger is let in`),
			(error: unknown) => error,
		);
		assert.match(String(thrown), /the login was refused: /, key);
		assert.doesNotMatch(String(thrown), SECRETS);
		assert.ok(!String(thrown).includes(text(stranger.getSeed())));

		writeFileSync(join(dir, "secret"), right);
		const { log } = await open();
		const outcome = await log.append(batchOf([{ id: "1" }]));
		assert.ok(outcome.ok, key);
		await log.close();
		assert.ok(state.engine === "nats");
		const opened = await openState({ ...state, clock: systemClock });
		assert.ok(opened.ok, opened.ok ? "" : opened.detail);
		await opened.store.close();
		await server.kill();
	}
});
