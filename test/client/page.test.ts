/** docs/client.md: its programs pass the compiler as they are printed, and say what stands below them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { here, otherPorts, portsIn, stepsOf, take, tourFolder } from "../support/tour.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PAGE = readFileSync(join(ROOT, "docs", "client.md"), "utf8");

test("the programs of docs/client.md compile, and say what it prints", { timeout: 180_000 }, async (t) => {
	const tour = { folder: tourFolder(t), ports: new Map(await otherPorts(portsIn(PAGE))) };
	const files = [...PAGE.matchAll(/^```ts\n\/\/ (\S+\.ts)\n(.*?)^```$/gms)].map(([, name = "", text = ""]) => {
		writeFileSync(join(tour.folder, name), here([text], tour).join(""));
		return name;
	});
	assert.equal(files.length, [...PAGE.matchAll(/^```ts/gm)].length, "a program has no name in its first line");
	assert.ok(files.length > 3, "they are not where this test looks for them");
	mkdirSync(join(tour.folder, "node_modules"));
	symlinkSync(ROOT, join(tour.folder, "node_modules", "nexus-mesh"));

	const { compilerOptions } = JSON.parse(readFileSync(join(ROOT, "tsconfig.json"), "utf8")) as { compilerOptions: Record<string, unknown> };
	const options = { ...compilerOptions, rootDir: "/", typeRoots: [join(ROOT, "node_modules", "@types")] };
	writeFileSync(join(tour.folder, "package.json"), JSON.stringify({ type: "module" }));
	writeFileSync(join(tour.folder, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files }));
	const compiler = join(ROOT, "node_modules", "typescript", "bin", "tsc");
	const checked = spawnSync(process.execPath, [compiler, "-p", tour.folder], { encoding: "utf8" });
	assert.equal(checked.status, 0, checked.stdout);

	for (const step of stepsOf(PAGE)) await take(t, step, tour);
});

test("the page names every part of the client with its methods", async () => {
	const { NexusClient } = await import("nexus-mesh/client");
	const client = new NexusClient({ url: "http://127.0.0.1:1" });
	const [, parts = ""] = /^## Parts\n(.*?)^## /ms.exec(PAGE) ?? [];
	for (const part of [client, ...Object.values(client)] as object[]) {
		for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(part))) {
			if (name !== "constructor") assert.ok(parts.includes(`\`${name}\``), `docs/client.md does not name ${name}`);
		}
	}
	for (const name of Object.keys(client)) assert.ok(parts.includes(`\`${name}\``), `docs/client.md does not name ${name}`);
});
