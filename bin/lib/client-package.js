"use strict";
/** Makes the package that programs install: `nexus-mesh/client` as JavaScript with its types, and of the rest of the sources only what that needs. */
const { spawnSync } = require("node:child_process");
const { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");

const ENTRY = "./dist/client/nexus-client";

/** Into `directory`, which is emptied before. Returns the exit code of the compiler; where that is not 0, there is no package. */
function buildClientPackage(node, root, directory) {
	rmSync(directory, { recursive: true, force: true });
	mkdirSync(directory, { recursive: true });
	const dist = join(directory, "dist");
	const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
	const { status } = spawnSync(node, [compiler, "-p", join(root, "tsconfig.client.json"), "--outDir", dist], { stdio: "inherit" });
	if (status !== 0) return status ?? 1;
	for (const file of filesIn(dist)) if (file.endsWith(".d.ts")) writeFileSync(file, withEmittedNames(readFileSync(file, "utf8")));
	const { version, license, dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
	const manifest = {
		name: "nexus-mesh",
		version,
		description: "The client of Nexus, the event bus of a Nexus mesh: publish, subscribe, dead letters, policies.",
		license,
		type: "module",
		// Of what is in here; the mesh itself asks for more.
		engines: { node: ">=20" },
		sideEffects: false,
		exports: { "./client": { types: `${ENTRY}.d.ts`, default: `${ENTRY}.js` }, "./package.json": "./package.json" },
		dependencies: { ws: dependencies.ws },
	};
	writeFileSync(join(directory, "package.json"), `${JSON.stringify(manifest, undefined, "\t")}\n`);
	copyFileSync(join(root, "LICENSE"), join(directory, "LICENSE"));
	copyFileSync(join(root, "docs", "client.md"), join(directory, "README.md"));
	return 0;
}

/** The compiler rewrites the names of imports in code, and leaves those in declarations. */
function withEmittedNames(declarations) {
	return declarations.replace(/(?<=(?:from |import\()")(\.{1,2}\/[^"]+)\.ts(?=")/g, "$1.js");
}

function filesIn(directory) {
	return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
		const path = join(directory, entry.name);
		return entry.isDirectory() ? filesIn(path) : [path];
	});
}

module.exports = { buildClientPackage };
