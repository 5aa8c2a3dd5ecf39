/** The log on a Kafka that lets in only a user with a password, and only over mutual TLS. */
import { readFileSync, writeFileSync } from "node:fs";
import { freePorts } from "../../support/processes.ts";
import { skipWithoutKafka, startKafka } from "../log/servers.ts";
import { PASSWORD, USER } from "./papers.ts";
import { engineSecurity, FIRST, type Reaching } from "./security.ts";

/** Of SCRAM, as it is formatted with; that of PLAIN stands in a file, and changes. */
const SCRAM_PASSWORD = "hunter2-of-scram";
const LISTENER = "listener.name.secure";

function configOf({ host, port, password, tls }: Reaching, mechanism: string | undefined): string {
	const more = `${mechanism === undefined ? "" : `, mechanism: ${mechanism}`}${tls === undefined ? "" : `, tls: ${tls}`}`;
	return `log: { kafka: { brokers: ["${host}:${port}"], user: ${USER}, passwordFile: ${password}${more} } }`;
}

engineSecurity("kafka", {
	skip: skipWithoutKafka,
	async make(t, papers) {
		const [port = 0] = await freePorts(1);
		papers.dress(FIRST.server, FIRST.ca);
		papers.write("scram", SCRAM_PASSWORD);
		const login = "org.apache.kafka.common.security";
		const scram = ["256", "512"].map((bits) => [`${LISTENER}.scram-sha-${bits}.sasl.jaas.config`, `${login}.scram.ScramLoginModule required;`]);
		const { server, address, file } = await startKafka(t, {
			listener: { name: "SECURE", protocol: "SASL_SSL", port },
			settings: {
				[`${LISTENER}.sasl.enabled.mechanisms`]: "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
				"ssl.keystore.type": "PEM",
				"ssl.keystore.location": papers.path("broker.pem"),
				"ssl.truststore.type": "PEM",
				"ssl.truststore.location": papers.path("broker-ca.crt"),
				[`${LISTENER}.ssl.client.auth`]: "required",
				[`${LISTENER}.plain.sasl.jaas.config`]: `${login}.plain.PlainLoginModule required user_${USER}="${PASSWORD}";`,
				...Object.fromEntries(scram),
			},
			format: ["256", "512"].flatMap((bits) => ["--add-scram", `SCRAM-SHA-${bits}=[name=${USER},password=${SCRAM_PASSWORD}]`]),
		});
		return {
			port,
			plainPort: Number(address.split(":")[1]),
			kill: () => server.kill(),
			start({ server: pair, ca, password }) {
				papers.dress(pair, ca);
				writeFileSync(file, readFileSync(file, "utf8").replace(PASSWORD, password));
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
