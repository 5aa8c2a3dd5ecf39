/** The client as a package: built, packed, installed into an empty folder without a network, checked by the compiler there, and run. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { serveNexus, temporaryDir } from "../nexus/support.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TYPESCRIPT = join(ROOT, "node_modules", "typescript", "bin", "tsc");
const hasNpm = spawnSync("npm", ["--version"]).status === 0;
const skip = !hasNpm && process.env.NEXUS_TEST_STRICT !== "1" ? "npm is not installed" : false;

function run(command: string, args: readonly string[], cwd: string): string {
	const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: "utf8" });
	assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}${error ?? ""}`);
	return stdout;
}

test("the package installs into an empty folder offline, and brings all that the client needs with its types", {
	skip,
	timeout: 300_000,
}, async (t) => {
	const base = temporaryDir(t);
	const [built, archives, program] = [join(base, "built"), join(base, "archives"), join(base, "program")];
	for (const folder of [archives, program]) mkdirSync(folder);
	run(process.execPath, [join(ROOT, "bin", "tasks.js"), "build:client", built], ROOT);

	// A cache of its own: nothing that this machine has installed before can help.
	const npm = ["--cache", join(base, "cache"), "--offline", "--ignore-scripts", "--no-audit", "--no-fund"];
	for (const folder of [built, join(ROOT, "node_modules", "ws")]) run("npm", ["pack", folder, ...npm], archives);
	const files = readdirSync(archives).toSorted();
	const { version, dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
		version: string;
		dependencies: { ws: string };
	};
	assert.deepEqual(files, [`nexus-mesh-${version}.tgz`, `ws-${dependencies.ws}.tgz`]);

	writeFileSync(join(program, "package.json"), JSON.stringify({ name: "program", type: "module", private: true }));
	run("npm", ["install", ...files.map((file) => join(archives, file)), ...npm], program);
	const installed = join(program, "node_modules");
	assert.deepEqual(
		readdirSync(installed)
			.filter((name) => !name.startsWith("."))
			.toSorted(),
		["nexus-mesh", "ws"],
	);
	assert.deepEqual(readdirSync(join(installed, "nexus-mesh", "dist")).toSorted(), ["client", "core", "events"]);

	cpSync(join(ROOT, "test", "fixtures", "client", "program.ts"), join(program, "program.ts"));
	const compilerOptions = {
		...{ target: "es2022", module: "nodenext", strict: true, exactOptionalPropertyTypes: true, noEmit: true, skipLibCheck: false },
		...{ types: ["node"], typeRoots: [join(ROOT, "node_modules", "@types")] },
	};
	writeFileSync(join(program, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["program.ts"] }));
	run(process.execPath, [TYPESCRIPT, "-p", "."], program);

	const { url } = await serveNexus(t, join(base, "data"));
	const { stdout: said } = await promisify(execFile)(process.execPath, ["program.ts", url], { cwd: program });
	assert.deepEqual(JSON.parse(said), { seen: [1, 2, 3], durable: "disk", refusal: "not_found", unused: 5 });
});
