/** README.md and docs/: the tour runs as it is printed, and pages name only what exists. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { REASON_CODES, REASONS, type Reason } from "../src/core/reasons.ts";
import { loadPolicy } from "../src/policy/load.ts";
import { NexusProcess } from "./support/processes.ts";
import { assertSays, here, otherPorts, type Step, stepsOf, take, tourFolder } from "./support/tour.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const README = readFileSync(join(ROOT, "README.md"), "utf8");
const TOUR_MS = 180_000;
/** Commands that ask Nexus, which stands elsewhere here. */
const OF_NEXUS = /bin\/nexus (?:events|token create|ca revoke) /g;
// Of the service that the tour adds; the others stand in the table of the mesh.
const HELLO_PORTS = ["15000", "15001", "15006", "3000"];

const hasCurl = spawnSync("curl", ["--version"]).status === 0;
const skip = !hasCurl && process.env.NEXUS_TEST_STRICT !== "1" ? "curl is not installed" : false;

test("the tour of the README does what it says", { timeout: TOUR_MS, skip }, async (t) => {
	const [start, ...steps] = tourOf(README);
	assert.equal(start?.command, "npm start");
	const folder = shopFolder(t);
	// What `npm start` runs once all is set up; the set-up has tests of its own.
	const up = new NexusProcess(t, ["up", "--config", "config/samples/shop/mesh.json"], { cwd: folder });
	await up.said(/Try in another terminal:/);
	const tour = { folder, ports: new Map([...(await otherPorts(HELLO_PORTS)), ...portsOfTable(up.stdout)]) };
	assertSays(up.stdout, here(start.expected, tour), start.command);

	const nexus = `--url http://127.0.0.1:${tour.ports.get("7400")} `;
	for (const { command, expected } of steps) await take(t, { command: command.replaceAll(OF_NEXUS, `$&${nexus}`), expected }, tour);
});

test("the tour has the steps that a newcomer needs, each with its outcome", () => {
	const steps = tourOf(README);
	for (const needed of [
		/^npm start$/,
		/^curl .*15011/,
		/\/upstreams/,
		/nexus check/,
		/nexus explain/,
		/nexus events/,
		/nexus token create/,
		/nexus run/,
		/nexus ca revoke/,
	]) {
		const has = steps.some(({ command }) => needed.test(command));
		assert.ok(has, `${needed} is not in the tour`);
	}
	for (const { command, expected } of steps) assert.ok(expected.length > 0 || command.startsWith("cat >"), `${command} states no outcome`);
});

test("an outcome that is missing, or comes in another order, is told", () => {
	const said = "one 1\ntwo 2\n";
	assertSays(said, ["o... 1", "two   2"], "x");
	assert.throws(() => assertSays(said, ["two", "one"], "x"), /"one" is not in/);
	assert.throws(() => assertSays(said, ["three"], "x"), /"three" is not in/);
});

test("the policy of the README has no fault", () => {
	const policies = [...README.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = ""]) => text);
	assert.equal(policies.length, 1);
	for (const text of policies) {
		const result = loadPolicy(text, "README.md", {}, 1);
		assert.deepEqual(result.ok ? [] : result.faults, []);
	}
});

test("the page about requests has every reason, with the status and the fate of the connection that the catalogue gives it", () => {
	const page = readFileSync(join(ROOT, "docs/life-of-a-request.md"), "utf8");
	const rows = [...page.matchAll(/^\| \d+ [\w ]+ \| `(\w+)` \| (\d{3}) \| (\w+) \|/gm)];
	assert.ok(rows.length > 20, "the table of the ways out is not where this test looks for it");
	for (const [row, code = "", status, connection] of rows) {
		assert.ok(Object.hasOwn(REASONS, code), `${row} names no reason of the catalogue`);
		const spec = REASONS[code as Reason];
		assert.equal(Number(status), spec.status, row);
		// `cut`: the status had been sent already.
		if (connection !== "cut") assert.equal(connection, spec.closes ? "closes" : "kept", row);
	}
	for (const code of REASON_CODES) assert.ok(page.includes(`\`${code}\``), `${code} is not on the page`);
});

test("every file and folder that a page names exists", () => {
	for (const page of ["README.md", "CONTRIBUTING.md", "SECURITY.md", ...markdownIn("docs")]) {
		const text = readFileSync(join(ROOT, page), "utf8");
		for (const path of pathsIn(text)) assert.ok(existsSync(join(ROOT, path)), `${page} names ${path}`);
		for (const [, link = ""] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
			if (!link.includes("://")) assert.ok(existsSync(join(ROOT, dirname(page), link)), `${page} links to ${link}`);
		}
	}
});

test("a path that does not exist would be seen", () => {
	const paths = pathsIn("see `src/core/no-such-file.ts`, docs/no.md, `src/policy/schema*.ts`, `config/samples/*.yaml` and `config/samples/`.");
	assert.deepEqual(paths, ["src/core/no-such-file.ts", "docs/no.md", "src/policy/", "config/samples/", "config/samples/"]);
});

test("the index of the documentation has every page and every decision", () => {
	const index = readFileSync(join(ROOT, "docs/README.md"), "utf8");
	for (const page of markdownIn("docs")) {
		if (page !== "docs/README.md") assert.ok(index.includes(`](${page.slice("docs/".length)})`), `${page} is not in docs/README.md`);
	}
});

function markdownIn(folder: string): string[] {
	const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" });
	return names.filter((name) => name.endsWith(".md")).map((name) => `${folder}/${name}`);
}

/** Paths below the folders of the repository; of a pattern, the folder in front of it. What is made by a run may be absent. */
function pathsIn(text: string): string[] {
	return [...text.matchAll(/(?<![\w./-])((?:src|docs|test|config|bench|bin)\/[\w./-]*)(\*?)/g)]
		.map(([, path = "", star]) => path.replace(star === "*" ? /[^/]*$/ : /\.+$/, ""))
		.filter((path) => !path.startsWith("bench/results/"));
}

function tourOf(readme: string): Step[] {
	const [, behind = ""] = readme.split(/^## A tour of five minutes$/m);
	const [tour = ""] = behind.split(/^## /m);
	return stepsOf(tour);
}

interface MeshFile {
	readonly nexus: { readonly port: number };
	readonly services: readonly { readonly name: string; readonly ports: Readonly<Record<string, number>>; readonly env?: Record<string, string> }[];
}

function shopFile(): MeshFile {
	return JSON.parse(readFileSync(join(ROOT, "config/samples/shop/mesh.json"), "utf8")) as MeshFile;
}

/** What the tour finds in the repository: program and samples. The samples are a copy, as the tour breaks one of them. */
function shopFolder(t: TestContext): string {
	const folder = tourFolder(t);
	cpSync(join(ROOT, "config"), join(folder, "config"), { recursive: true });
	writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
	const mesh = shopFile();
	// The instance that fails now and then would do so at a moment that the machine decides.
	for (const { env } of mesh.services) if (env !== undefined) env.OUTAGE_EVERY_S = "0";
	writeFileSync(join(folder, "config/samples/shop/mesh.json"), JSON.stringify(mesh));
	return folder;
}

/** From the port that the README prints to the one in the table: another where that was taken. */
function portsOfTable(table: string): [string, string][] {
	const { nexus, services } = shopFile();
	const given = (name: string, column: number): string => {
		const [row = ""] = new RegExp(`^  ${name} .*$`, "m").exec(table) ?? [];
		const port = row.trim().split(/\s+/)[column]?.split(":")[1];
		assert.ok(port !== undefined, `${name} has no port in column ${column} of the table:\n${table}`);
		return port;
	};
	const columns = ["APP_PORT", "INBOUND_PORT", "OUTBOUND_PORT", "ADMIN_PORT"];
	const ofServices = services.flatMap(({ name, ports }) =>
		Object.entries(ports).map(([variable, port]): [string, string] => [String(port), given(name, columns.indexOf(variable) + 1)]),
	);
	return [[String(nexus.port), given("nexus", 1)], ...ofServices];
}
