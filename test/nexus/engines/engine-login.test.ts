/** Certificates and logins of engines and webhooks in the configuration: what is meant, and what contradicts itself, with its place. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";
import { REASONS } from "../../../src/core/reasons.ts";
import { loadNexusConfig, type NexusConfig } from "../../../src/nexus/config/config.ts";
import { withoutSecrets } from "../../../src/nexus/config/secret-source.ts";
import { formatFaults } from "../../../src/policy/fault.ts";
import { serveNexus, temporaryDir } from "../support.ts";
import { pageOf } from "./security.ts";

const ENV = { SECRET: "hunter2" };

function load(text: string): NexusConfig {
	const result = loadNexusConfig(text, "/etc/nexus/nexus.yaml", ENV);
	assert.ok(result.ok, JSON.stringify(result));
	return result.config;
}

test("each login and certificate is what the engine is given; paths are relative to the file, and a state beside the log has those of the log", () => {
	const nats = load(
		"log: { nats: { servers: ['a:1'], credsFile: nexus.creds, tls: { ca: ca.crt, cert: c.crt, key: c.key, serverName: nats.internal } } }",
	);
	const tls = { files: { ca: "/etc/nexus/ca.crt", cert: "/etc/nexus/c.crt", key: "/etc/nexus/c.key" }, serverName: "nats.internal" };
	assert.ok(nats.log.backend === "nats" && nats.state.engine === "nats");
	assert.deepEqual([nats.log.tls, nats.state.tls], [tls, tls]);
	assert.deepEqual([nats.log.login?.kind, nats.state.login?.kind], ["creds", "creds"]);

	const kafka = load("log: { kafka: { brokers: ['k:9092'], user: nexus, password: '$\u007bSECRET}', tls: {} } }").log;
	assert.ok(kafka.backend === "kafka");
	assert.deepEqual([kafka.login?.mechanism, kafka.login?.user, kafka.login?.password.read()], ["SCRAM-SHA-512", "nexus", "hunter2"]);
	assert.deepEqual(kafka.tls, { files: {} });

	const { state } = load(
		"log: { kafka: { brokers: ['k:9092'] } }\nstate: { postgres: { url: 'postgres://db/nexus', user: 'a b', password: 'p@:/' } }",
	);
	assert.ok(state.engine === "postgres");
	assert.equal(state.url.read(), "postgres://a%20b:p%40%3A%2F@db/nexus");
	assert.doesNotMatch(inspect(state, { depth: 9, showHidden: true }) + JSON.stringify(state), /p@|p%40/);
});

test("what of a login or a certificate contradicts itself is told with its place and a way out, and without the secret", () => {
	const cases: readonly [text: string, ...faults: string[]][] = [
		[
			"log: { nats: { servers: ['a:1'], token: 'hunter2', nkeyFile: k } }",
			"1:8 there are several logins; keep one: user and password, a token, `nkeyFile` or `credsFile`",
		],
		["log: { nats: { servers: ['a:1'], token: 'hunter2', tokenFile: f } }", "1:52 there are two tokens; keep one of `token` and `tokenFile`"],
		["log: { nats: { servers: ['a:1'], user: u } }", "1:34 there is a user without a password; add `passwordFile`"],
		["log: { nats: { servers: ['a:1'], passwordFile: f } }", "1:34 there is a password without its user; add `user`"],
		[
			"log: { kafka: { brokers: ['k:1'], user: u, password: 'hunter2', passwordFile: f } }",
			"1:65 there are two passwords; keep one of `password` and `passwordFile`",
		],
		["log: { kafka: { brokers: ['k:1'], mechanism: PLAIN } }", "1:35 there is no login that it is for; add `user` and `passwordFile`"],
		["log: { kafka: { brokers: ['k:1'], user: u, password: 2222 } }", "1:44 `password` is not text; put it in quotes"],
		["log: { redis: { url: 'rediss://r', tls: { cert: c } } }", "1:43 there is a certificate without its key; add `key`; it may be the same file"],
		["log: { redis: { url: 'rediss://r', tls: { key: c } } }", "1:43 there is a key without its certificate; add `cert`"],
		["webhooks: { certificates: { mesh: { ca: c } } }", "1:29 `mesh` is there already; give it another name"],
		["webhooks: { certificates: { a b: { ca: c } } }", "1:29 is not a name; 1 to 64 letters, digits, `.`, `_` and `-`"],
		["webhooks: { certificates: { a: {} } }", "1:29 there are no files; add cert and key, or ca"],
	];
	for (const [text, ...expected] of cases) {
		const result = loadNexusConfig(text, "/etc/nexus/nexus.yaml", ENV);
		const faults = result.ok ? [] : result.faults.map(({ place, message, hint }) => `${place.line}:${place.column} ${message}; ${hint}`);
		assert.deepEqual(faults, expected, text);
		assert.doesNotMatch(result.ok ? "" : formatFaults(result.faults, withoutSecrets(text)), /hunter2|2222/);
	}
});

test("no way to write a secret shows it in a line that is at fault", () => {
	const lines = [
		'log: { redis: { url: "http://u:hunter2/hunter2@r" } }',
		'log: { kafka: { brokers: [x], user: u, password: "a hunter2 \\" hunter2" } }',
		"log: { kafka: { brokers: [x], user: u, password: 'a, hunter2' } }",
		'{ "log": { "kafka": { "brokers": ["x"], "user": "u", "password": "hunter2" } } }',
		'log: { redis: { url: "redis://r", user: u, passwrd: hunter2 } }',
		"log:\n  redis:\n    user: u\n    password:\n      hunter2: hunter2: x\n",
		"log:\n  redis:\n    user: u\n    password:\n      'hunter2' hunter2\n    url: redis://r\n",
		"log: { redis: { url: redis://u:hunter2 } }",
	];
	for (const text of lines) {
		const result = loadNexusConfig(text, "n.yaml", {});
		assert.ok(!result.ok, text);
		const shown = formatFaults(result.faults, withoutSecrets(text));
		assert.doesNotMatch(shown, /hunter2/);
		assert.equal(withoutSecrets(text).length, text.length);
	}
	assert.doesNotMatch(withoutSecrets("log:\n  nats:\n    token: a, hunter2\n"), /hunter2/);
	// Of what is no secret nothing is lost.
	const plain = "log:\n  redis:\n    passwordFile: f\n    url: redis://r:6379/0\n    tls: {}\nlisten: [::1]:80\n";
	assert.equal(withoutSecrets(plain), plain);
	// Whence it comes is no secret.
	assert.equal(withoutSecrets('password: "$\u007bSECRET}"'), 'password: "$\u007bSECRET}"');
});

test("a Nexus does not start with certificates for webhooks that cannot be used, and says which", async (t) => {
	const dir = temporaryDir(t);
	const certificates = { partner: { ca: join(dir, "none.crt") } };
	await assert.rejects(serveNexus(t, dir, { webhooks: { certificates } }), /webhooks\.certificates\.partner: ENOENT.*none\.crt/);
});

test("the configurations of docs/engine-security.md have no fault, and it names reasons that there are", () => {
	const page = pageOf("engine-security");
	const texts = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = ""]) => text);
	assert.equal(texts.length, 6);
	for (const text of texts) {
		const result = loadNexusConfig(text, "engine-security.md", ENV);
		assert.deepEqual(result.ok ? [] : result.faults, [], text);
	}
	const reasons = [...page.matchAll(/\(?(tls_\w+)\)/g)].map(([, reason = ""]) => reason);
	assert.ok(reasons.length > 5);
	for (const reason of reasons) assert.ok(reason in REASONS, reason);
});
