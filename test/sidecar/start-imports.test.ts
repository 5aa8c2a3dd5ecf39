/** What a sidecar loads at its start: memory and time that every service of a mesh pays. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

// Each takes 10-30 MB or 10-60 ms, and is loaded when it is first needed, or never.
const NOT_AT_START =
	/^node:(https?|http2|tls|worker_threads|sqlite)$|node_modules\/(@opentelemetry|undici|prom-client|opossum|pino|commander|hono|yaml|zod)\//;

// What issues certificates: 10 MB and 60 ms that only an authority needs. Its library brings the others.
const NEVER = /node_modules\/(@peculiar|reflect-metadata|tsyringe|asn1js|pvtsutils)\//;

// For services that have an identity, each for its own source of it.
const IDENTITY =
	/\/src\/(sidecar\/identity\/(identity-keeper|file-source|nexus-source|nexus-connector|authority-\w+|identity-cache)|net\/secure-contexts)\.ts$/;

const LISTING = `
import { registerHooks } from "node:module";
const seen = new Set();
registerHooks({ resolve(specifier, context, next) { const found = next(specifier, context); seen.add(found.url); return found; } });
await import(process.argv[1]);
process.stdout.write(JSON.stringify([...seen]));
process.exit();
`;

function loadedBy(file: string): string[] {
	const url = new URL(file, import.meta.url).href;
	const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", LISTING, url], { encoding: "utf8", timeout: 60_000 });
	assert.equal(stderr, "");
	return JSON.parse(stdout) as string[];
}

test("a sidecar starts without the parts that only some of them need", () => {
	const loaded = loadedBy("../../src/sidecar/run.ts");
	assert.ok(loaded.some((url) => url.endsWith("/src/sidecar/data-plane.ts")));
	assert.deepEqual(
		loaded.filter((url) => NOT_AT_START.test(url) || NEVER.test(url) || IDENTITY.test(url)),
		[],
	);
});

test("a sidecar with an identity never loads what issues certificates, and its HTTP client only with the first request", () => {
	for (const file of ["identity-keeper", "file-source", "nexus-source", "nexus-connector"]) {
		const loaded = loadedBy(`../../src/sidecar/identity/${file}.ts`);
		assert.ok(loaded.length > 10, file);
		assert.deepEqual(
			loaded.filter((url) => NEVER.test(url) || /node_modules\/undici\//.test(url)),
			[],
			file,
		);
	}
	assert.ok(
		loadedBy("../../src/identity/issue.ts").some((url) => NEVER.test(url)),
		"the listing sees it",
	);
});

test("the listing sees what is loaded: Nexus' start has the router that a sidecar's must not have", () => {
	assert.ok(loadedBy("../../src/nexus/run.ts").some((url) => NOT_AT_START.test(url)));
});
