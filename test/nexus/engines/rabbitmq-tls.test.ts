/** The log on a RabbitMQ that lets in only a user with a password, and only over mutual TLS. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { eventually, freePorts, isTaken } from "../../support/processes.ts";
import { skipWithoutRabbitmq, startRabbitmq } from "../log/servers.ts";
import { USER } from "./papers.ts";
import { engineSecurity, FIRST, pageOf, type ServerFiles } from "./security.ts";

/** All that a log needs. */
const RIGHTS = { configure: "^(nexus-|amq\\.gen-)", write: "^(nexus-|amq\\.(gen-|default$))", read: "^(nexus-|amq\\.gen-)" };

/** As RabbitMQ keeps it: salt and SHA-256 of salt and password. */
function hashed(password: string): string {
	const salt = randomBytes(4);
	return Buffer.concat([salt, createHash("sha256").update(salt).update(password).digest()]).toString("base64");
}

engineSecurity("rabbitmq", {
	skip: skipWithoutRabbitmq,
	async make(t, papers) {
		for (const pattern of Object.values(RIGHTS)) assert.ok(pageOf("engine-security").includes(`\`${pattern}\``), pattern);
		const [port = 0] = await freePorts(1);
		const dress = ({ server, ca, password }: ServerFiles): void => {
			papers.dress(server, ca);
			const user = { name: USER, password_hash: hashed(password), hashing_algorithm: "rabbit_password_hashing_sha256", tags: "" };
			const permissions = [{ user: USER, vhost: "/", ...RIGHTS }];
			papers.write("definitions.json", JSON.stringify({ vhosts: [{ name: "/" }], users: [user], permissions }));
		};
		dress(FIRST);
		const { server, url } = await startRabbitmq(t, [
			`listeners.ssl.1 = 127.0.0.1:${port}`,
			`ssl_options.cacertfile = ${papers.path("broker-ca.crt")}`,
			`ssl_options.certfile = ${papers.path("broker.crt")}`,
			`ssl_options.keyfile = ${papers.path("broker.key")}`,
			"ssl_options.verify = verify_peer",
			"ssl_options.fail_if_no_peer_cert = true",
			`load_definitions = ${papers.path("definitions.json")}`,
		]);
		await eventually("it listens for TLS", () => isTaken(port));
		return {
			port,
			plainPort: Number(new URL(url).port),
			kill: () => server.kill(),
			async start(files) {
				dress(files);
				await server.start();
				await eventually("it listens for TLS", () => isTaken(port));
			},
		};
	},
	config({ host, port, password, tls }) {
		const more = tls === undefined ? "" : `, tls: ${tls}`;
		return `log: { rabbitmq: { url: "amqps://${host}:${port}", user: ${USER}, passwordFile: ${password}${more} } }`;
	},
	plain: /TLS failed \(tls_on_plaintext_port\)|speak plain text/,
});
