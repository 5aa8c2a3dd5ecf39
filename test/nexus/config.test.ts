/** The configuration file of Nexus. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { DEFAULT_CONFIG, exposureFault, loadNexusConfig, parseSize } from "../../src/nexus/config/config.ts";

function load(text: string) {
	return loadNexusConfig(text, "/etc/nexus/nexus.yaml", { PORT: "7500" });
}

function faults(text: string): string[] {
	const result = load(text);
	return result.ok ? [] : result.faults.map(({ place, message, hint }) => `${place.line}:${place.column} ${message}; ${hint}`);
}

test("the sample says what the defaults are", () => {
	const file = fileURLToPath(new URL("../../config/nexus.yaml", import.meta.url));
	const result = loadNexusConfig(readFileSync(file, "utf8"), file, {});
	assert.ok(result.ok);
	const { kind: _kind, ...listen } = result.config.listen as { kind?: string; host: string; port: number };
	const dataDir = fileURLToPath(new URL("../../.nexus/data", import.meta.url));
	assert.deepEqual({ ...result.config, listen }, { ...DEFAULT_CONFIG, dataDir, access: { ...DEFAULT_CONFIG.access, isStated: true } });
});

test("every key acts; paths are relative to the file; the environment is put in", () => {
	const result = load(
		'listen: "0.0.0.0:$\u007bPORT}"\ndata: ./events\nallowedHosts: [nexus.internal]\nretention: { maxBytes: 1.5GiB, maxAge: 2h }\nlimits: { maxEventBytes: 1MiB }\nauthority: { dir: ../certs, certificateTtl: 30s }\naccess: { anonymous: [read], identities: { operate: [ops, "spiffe://mesh.local/ci"] } }\n',
	);
	assert.ok(result.ok);
	const { listen, ...rest } = result.config;
	assert.deepEqual([listen.host, listen.port], ["0.0.0.0", 7500]);
	assert.deepEqual(rest, {
		log: { backend: "embedded" },
		state: { engine: "sqlite" },
		durability: undefined,
		cluster: { leaseMs: 10_000, url: undefined },
		dataDir: "/etc/nexus/events",
		backupsDir: undefined,
		allowedHosts: ["nexus.internal"],
		retention: { bytesMax: 1.5 * 1024 ** 3, ageMsMax: 7_200_000 },
		limits: { eventBytesMax: 1024 * 1024 },
		webhooks: { certificates: {} },
		authority: { dir: "/etc/certs", certificateTtlMs: 30_000 },
		access: { anonymous: ["read"], identities: { operate: ["ops", "spiffe://mesh.local/ci"] }, isStated: true },
	});
});

test("all faults are told at once, each with its place and a hint", () => {
	assert.deepEqual(faults("listen: 7400\nretension: {}\nretention:\n  maxBytes: 1MiB\n  maxAge: soon\n"), [
		"1:9 `7400` is not text; ",
		"4:13 `1MiB` is out of range; from 16MiB to 1TiB",
		"5:11 `soon` is not a duration; write a number and its unit: 250ms, 5s, 1m30s, 1h",
		"2:1 unknown key `retension`; did you mean `retention`?",
	]);
	assert.equal(faults("listen: [").length > 0, true);
	assert.match(faults("data: $\u007bNOPE}")[0] ?? "", /^1:7 .*NOPE/);
});

test("who may do what without a word: everything on loopback, nothing once there is an authority or a rule", () => {
	const accessOf = (text: string) => {
		const result = load(text);
		assert.ok(result.ok);
		return result.config.access;
	};
	assert.deepEqual(accessOf("data: x"), { anonymous: ["read", "ingest", "operate"], identities: {}, isStated: false });
	assert.deepEqual(accessOf("authority: { dir: x }"), { anonymous: [], identities: {}, isStated: false });
	assert.deepEqual(accessOf("access: {}"), { anonymous: [], identities: {}, isStated: true });
	assert.deepEqual(faults("access: { anonymous: [all], identities: { operate: ['a b'] } }\nauthority: { certificateTtl: 25h }\n").length, 4);
});

test("an address that other machines reach needs a word on who may do what", () => {
	const config = (text: string) => {
		const result = load(text);
		assert.ok(result.ok);
		return result.config;
	};
	for (const host of ["0.0.0.0", "[::]", "10.1.2.3"]) {
		assert.match(
			exposureFault(config(`listen: "${host}:7400"`), false) ?? "",
			/can be reached from other machines.*nexus ca init.*listen on 127\.0\.0\.1/,
		);
		assert.equal(exposureFault(config(`listen: "${host}:7400"`), true), undefined);
		assert.equal(exposureFault(config(`listen: "${host}:7400"\nauthority: { dir: x }`), false), undefined);
		assert.equal(exposureFault(config(`listen: "${host}:7400"\naccess: {}`), false), undefined);
	}
	for (const host of ["127.0.0.1", "[::1]", "127.1.2.3", "localhost"])
		assert.equal(exposureFault(config(`listen: "${host}:7400"`), false), undefined, host);
});

test("sizes have units", () => {
	assert.equal(parseSize("512MiB"), 512 * 1024 * 1024);
	for (const text of ["512", "5GB", "-1GiB", "1e3MiB", ""]) assert.equal(typeof parseSize(text), "object", text);
});
