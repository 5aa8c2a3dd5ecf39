/** The log on a Kafka that lets in only a user with a password, and only over mutual TLS. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createSecureContext, createServer } from "node:tls";
import { Admin } from "@platformatic/kafka";
import type { EngineTls } from "../../../src/nexus/engines/engine-tls.ts";
import { clientsOf } from "../../../src/nexus/log/kafka-access.ts";
import { freePorts } from "../../support/processes.ts";
import { skipWithoutKafka, startKafka } from "../log/servers.ts";
import { PASSWORD, Papers, SERVER_NAME, USER } from "./papers.ts";
import { engineSecurity, FIRST, type Reaching } from "./security.ts";

/** Of SCRAM, as it is formatted with; that of PLAIN stands in a file, and changes. */
const SCRAM_PASSWORD = "hunter2-of-scram";

function configOf({ host, port, password, tls }: Reaching, mechanism: string | undefined): string {
	const more = `${mechanism === undefined ? "" : `, mechanism: ${mechanism}`}${tls === undefined ? "" : `, tls: ${tls}`}`;
	return `log: { kafka: { brokers: ["${host}:${port}"], user: ${USER}, passwordFile: ${password}${more} } }`;
}

engineSecurity("kafka", {
	skip: skipWithoutKafka,
	async make(t, papers) {
		const [port = 0, addressPort = 0] = await freePorts(2);
		papers.dress(FIRST.server, FIRST.ca);
		papers.write("scram", SCRAM_PASSWORD);
		const login = "org.apache.kafka.common.security";
		const settingsOf = (listener: string): [string, string][] => [
			[`${listener}.sasl.enabled.mechanisms`, "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"],
			[`${listener}.ssl.client.auth`, "required"],
			[`${listener}.plain.sasl.jaas.config`, `${login}.plain.PlainLoginModule required user_${USER}="${PASSWORD}";`],
			...["256", "512"].map((bits): [string, string] => [
				`${listener}.scram-sha-${bits}.sasl.jaas.config`,
				`${login}.scram.ScramLoginModule required;`,
			]),
		];
		const { server, address, file } = await startKafka(t, {
			listeners: [
				{ name: "SECURE", protocol: "SASL_SSL", host: "localhost", port },
				{ name: "ADDRESS", protocol: "SASL_SSL", host: "127.0.0.1", port: addressPort },
			],
			settings: {
				"ssl.keystore.type": "PEM",
				"ssl.keystore.location": papers.path("broker.pem"),
				"ssl.truststore.type": "PEM",
				"ssl.truststore.location": papers.path("broker-ca.crt"),
				...Object.fromEntries(["listener.name.secure", "listener.name.address"].flatMap(settingsOf)),
			},
			format: ["256", "512"].flatMap((bits) => ["--add-scram", `SCRAM-SHA-${bits}=[name=${USER},password=${SCRAM_PASSWORD}]`]),
		});
		return {
			port,
			plainPort: Number(address.split(":")[1]),
			refused: [
				[
					"a broker that names itself by an address that is not in its certificate",
					{ port: addressPort },
					/TLS failed \(tls_san_mismatch\): .*broker\.test, and not 127\.0\.0\.1/,
				],
			],
			kill: () => server.kill(),
			start({ server: pair, ca, password }) {
				papers.dress(pair, ca);
				writeFileSync(file, readFileSync(file, "utf8").replaceAll(PASSWORD, password));
				return server.start();
			},
		};
	},
	config: (reaching) => configOf(reaching, "PLAIN"),
	plain: /speak plain text/,
	others: {
		"SCRAM-SHA-256": (reaching) => configOf({ ...reaching, password: "scram" }, "SCRAM-SHA-256"),
		"SCRAM-SHA-512, which is the default": (reaching) => configOf({ ...reaching, password: "scram" }, undefined),
	},
	refused: [["a server that wants TLS, of which nothing is said", { tls: undefined }, /closed by the server, which may want TLS/]],
});

test("kafka: a broker is asked for by the name that it is called at, and by none where that is an address", async (t) => {
	const papers = await Papers.make(t);
	const asked: string[] = [];
	const context = createSecureContext({ cert: readFileSync(papers.path("server.crt")), key: readFileSync(papers.path("server.key")) });
	const server = createServer({
		SNICallback(name, done) {
			asked.push(name);
			done(null, context);
		},
	});
	server.on("tlsClientError", () => {}).on("secureConnection", (socket) => void socket.on("error", () => {}).end());
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	t.after(() => server.close());
	const { port } = server.address() as AddressInfo;
	const call = async (host: string, tls: EngineTls): Promise<void> => {
		const { options, prepared } = clientsOf({ brokers: [`${host}:${port}`], tls });
		const admin = prepared(new Admin({ clientId: "test", ...options }));
		await assert.rejects(admin.listTopics());
		await admin.close();
	};
	const files = { ca: papers.path("ca.crt") };
	await call("localhost", { files });
	await call("127.0.0.1", { files });
	await call("127.0.0.1", { files, serverName: SERVER_NAME });
	assert.deepEqual([...new Set(asked)], ["localhost", SERVER_NAME]);
});
