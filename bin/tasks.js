"use strict";
/** The npm scripts: sets the machine up where something is missing, then runs the task on the right Node. */
const { spawnSync } = require("node:child_process");
const { readdirSync } = require("node:fs");
const { availableParallelism } = require("node:os");
const { join, resolve } = require("node:path");
const { buildClientPackage } = require("./lib/client-package.js");
const { ensureDependencies } = require("./lib/dependencies.js");
const { runInOurPlace } = require("./lib/foreground.js");
const { SetupError } = require("./lib/npm.js");
const { ensureNode, ROOT } = require("./lib/runtime.js");

const TASKS = {
	start: (node, args) => runInOurPlace(node, [join("bin", "nexus"), "up", ...args], { cwd: ROOT }),
	test: (node, args) => runInOurPlace(node, testArguments(args), { cwd: ROOT }),
	check: (node) =>
		runAll(node, [
			["node_modules/typescript/bin/tsc", "-p", "."],
			["node_modules/@biomejs/biome/bin/biome", "check", "--error-on-warnings"],
			["--test", "test/architecture.test.ts"],
		]),
	bench: (node, args) => runInOurPlace(node, [join("bench", "main.ts"), ...args], { cwd: ROOT }),
	soak: (node, args) => runInOurPlace(node, [join("bench", "soak.ts"), ...args], { cwd: ROOT }),
	certs: (node, args) => runInOurPlace(node, [join("certs", "dev-ca.ts"), ...args], { cwd: ROOT }),
	"build:client": (node, [directory = join(".nexus", "client-package")]) => {
		const status = buildClientPackage(node, ROOT, resolve(directory));
		if (status === 0) process.stdout.write(`nexus: the package is in ${resolve(directory)}; \`npm pack\` there makes an archive of it\n`);
		process.exit(status);
	},
	fuzz: (node, args) => runInOurPlace(node, [join("test", "http1", "fuzz.ts"), ...args], { cwd: ROOT }),
};

main(process.argv[2], process.argv.slice(3));

async function main(name, args) {
	if (!Object.hasOwn(TASKS, name ?? "")) {
		process.stderr.write(`usage: node bin/tasks.js ${Object.keys(TASKS).join("|")} [arguments]\n`);
		process.exit(2);
	}
	try {
		const node = await ensureNode();
		await ensureDependencies();
		TASKS[name](node, args);
	} catch (error) {
		process.stderr.write(`nexus: ${error instanceof SetupError ? error.message : error.stack}\n`);
		process.exit(70);
	}
}

// Options go to the runner; whatever else is given names the files instead of all.
function testArguments(args) {
	const files = args.some((arg) => !arg.startsWith("-")) ? [] : testFiles(join(ROOT, "test"));
	// One file per core: the tests of the data plane measure nothing, but starved of time they would wait for each other.
	return ["--test", `--test-concurrency=${availableParallelism()}`, ...args, ...files];
}

function testFiles(directory) {
	return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
		const path = join(directory, entry.name);
		if (entry.isDirectory()) return entry.name === "fixtures" ? [] : testFiles(path);
		return entry.name.endsWith(".test.ts") ? [path] : [];
	});
}

/** All of them, even where one fails: a person wants to see every fault at once. */
function runAll(node, commands) {
	const statuses = commands.map((args) => spawnSync(node, args, { cwd: ROOT, stdio: "inherit" }).status);
	process.exit(statuses.every((status) => status === 0) ? 0 : 1);
}
