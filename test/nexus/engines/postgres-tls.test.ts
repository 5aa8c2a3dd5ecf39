/** The state on a PostgreSQL that lets in only a user with a password, and only over mutual TLS. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { Client } from "pg";
import { systemClock } from "../../../src/core/clock.ts";
import { systemRng } from "../../../src/core/rng.ts";
import { loadNexusConfig } from "../../../src/nexus/config/config.ts";
import { openState } from "../../../src/nexus/state/open-state.ts";
import { PostgresServer, skipWithoutPostgres } from "../state/postgres-server.ts";
import { PASSWORD, type Papers, USER } from "./papers.ts";
import { engineSecurity, FIRST, type ServerFiles } from "./security.ts";

const skip = skipWithoutPostgres;

/** The superuser by the socket of its own machine, everybody else over TLS. */
const HBA = `local all postgres trust\nhostssl all ${USER} 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n`;

function dress(server: PostgresServer, papers: Papers, { server: pair, ca }: ServerFiles): void {
	server.write("pg_hba.conf", HBA);
	for (const [name, file] of [
		["server.crt", `${pair}.crt`],
		["server.key", `${pair}.key`],
		["ca.crt", ca],
	] as const)
		server.write(name, readFileSync(papers.path(file), "utf8"));
	server.write("postgresql.auto.conf", "ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\nssl_ca_file = 'ca.crt'\n");
}

async function asSuperuser({ folder, port }: PostgresServer, sql: string): Promise<void> {
	const client = new Client({ host: folder, port, user: "postgres", database: "postgres" });
	await client.connect();
	await client.query(sql);
	await client.end();
}

async function startPlain(t: TestContext): Promise<PostgresServer> {
	const server = await PostgresServer.start();
	t.after(() => server.stop());
	return server;
}

engineSecurity("postgres", {
	skip,
	isState: true,
	async make(t, papers) {
		const plain = await startPlain(t);
		const server = await PostgresServer.start((made) => dress(made, papers, FIRST));
		t.after(() => server.stop());
		await asSuperuser(server, `CREATE USER ${USER} PASSWORD '${PASSWORD}'`);
		await asSuperuser(server, `CREATE DATABASE ${USER} OWNER ${USER}`);
		return {
			port: server.port,
			plainPort: plain.port,
			kill: () => server.crash(),
			async start(files) {
				dress(server, papers, files);
				await server.resume();
				await asSuperuser(server, `ALTER USER ${USER} PASSWORD '${files.password}'`);
			},
		};
	},
	config({ host, port, password, tls }) {
		const more = tls === undefined ? "" : `, tls: ${tls}`;
		return `log: { nats: { servers: ["127.0.0.1:1"] } }\nstate: { postgres: { url: "postgres://${host}:${port}/${USER}", user: ${USER}, passwordFile: ${password}${more} } }`;
	},
	plain: /The server does not support SSL connections/,
	refused: [["a server that wants TLS, of which nothing is said", { tls: undefined }, /the login was refused: no pg_hba\.conf entry.*no encryption/]],
});

test("postgres: a URL that speaks of TLS beside `tls` is refused, as one of the two would be passed over", { skip }, async (t) => {
	const { url } = await startPlain(t);
	const text = `log: { nats: { servers: ["127.0.0.1:1"] } }\nstate: { postgres: { url: "${url}?sslmode=disable", tls: {} } }`;
	const loaded = loadNexusConfig(text, "nexus.yaml", {});
	assert.ok(loaded.ok && loaded.config.state.engine === "postgres");
	const opened = await openState({ ...loaded.config.state, clock: systemClock, rng: systemRng });
	assert.match(opened.ok ? "" : opened.detail, /the URL says sslmode, and `tls` is given: keep one of them/);
});
