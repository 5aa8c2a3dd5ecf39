/** Pages of docs/ that show a feature at work: their policies have no fault, and their commands say what is printed below them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadPolicy } from "../src/policy/load.ts";
import { serveNexus, temporaryDir } from "./nexus/support.ts";
import { startSidecar } from "./sidecar/support.ts";
import { otherPorts, portsIn, stepsOf, take, tourFolder } from "./support/tour.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PAGES = [
	...["retries", "circuit-breaking", "rate-limits", "traffic", "faults", "identity", "authorization", "nexus", "admin-api"],
	...["publish", "subscriptions", "policies-from-nexus"],
];
const PAGE_MS = 120_000;

const hasCurl = spawnSync("curl", ["--version"]).status === 0;
const skip = !hasCurl && process.env.NEXUS_TEST_STRICT !== "1" ? "curl is not installed" : false;

for (const name of PAGES) {
	test(`the commands of docs/${name}.md say what it prints`, { timeout: PAGE_MS, skip }, async (t) => {
		const page = pageOf(name);
		const steps = stepsOf(page);
		assert.ok(steps.length > 1, "it has no steps where this test looks for them");
		const tour = { folder: tourFolder(t, ["docs", "certs"]), ports: new Map(await otherPorts(portsIn(page))) };
		for (const step of steps) await take(t, step, tour);
	});

	test(`the policies of docs/${name}.md have no fault`, () => {
		for (const [, text = ""] of pageOf(name).matchAll(/^```yaml\n(.*?)^```$/gms)) {
			const result = loadPolicy(text, `${name}.md`, {}, 1);
			assert.deepEqual(result.ok ? [] : result.faults, [], text);
		}
	});
}

test("the page about the admin API has every endpoint, and no other", async (t) => {
	const sidecar = await startSidecar(t, "outbound: { listen: 127.0.0.1:0 }\n");
	const response = await fetch(`http://127.0.0.1:${sidecar.port("admin")}/nothing-of-that-name`);
	const { detail } = (await response.json()) as { detail: string };
	// Between two endpoints stands what the one before is good for.
	const served = [...detail.matchAll(/(?:^|; )(GET|POST|PUT|DELETE) (\/\S*):/g)].map(([, method, path]) => `${method} ${path}`);
	assert.ok(served.length > 15, detail);
	const written = [...pageOf("admin-api").matchAll(/^\| `((?:GET|POST|PUT|DELETE) \/\S*?)` \|/gm)].map(([, endpoint]) => endpoint);
	assert.deepEqual(written.toSorted(), served.toSorted());
});

test("the page about Nexus names endpoints and roles as its API describes them", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const response = await fetch(`${url}/openapi.json`);
	const { paths } = (await response.json()) as { paths: Record<string, Record<string, { description?: string }>> };
	const rows = [...pageOf("nexus").matchAll(/^\| `(GET|POST|DELETE) (\/\S*)` \| (.*?) \|/gm)];
	assert.ok(rows.length > 10, "the table is not where this test looks for it");
	for (const [row, method = "", path = "", role = ""] of rows) {
		const described = paths[path]?.[method.toLowerCase()];
		assert.ok(described !== undefined, `${row} is not in /openapi.json`);
		if (/^`\w+`$/.test(role)) assert.ok(JSON.stringify(described).includes(`role ${role}`), `${row}: ${JSON.stringify(described.description)}`);
	}
});

test("the pages about Nexus name no path that its API has not", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const { paths } = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: Record<string, unknown> };
	const known = Object.keys(paths).map((path) => new RegExp(`^${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`));
	for (const name of ["nexus", "publish", "subscriptions", "policies-from-nexus", "engines", "life-of-an-event"]) {
		const named = [...pageOf(name).matchAll(/(?<=[\s`|\d])\/v1\/[\w{}/-]*[\w}]/g)].map(([path]) => path);
		assert.ok(named.length > 0, `${name} names none where this test looks for them`);
		for (const path of named)
			assert.ok(
				known.some((one) => one.test(path)),
				`docs/${name}.md names ${path}`,
			);
	}
});

function pageOf(name: string): string {
	return readFileSync(join(ROOT, `docs/${name}.md`), "utf8");
}
