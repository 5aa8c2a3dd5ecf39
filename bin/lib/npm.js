"use strict";
/** Runs the user's own npm, shows that something is going on, and explains what went wrong. */
const { spawn } = require("node:child_process");
const { existsSync, readdirSync, lstatSync } = require("node:fs");
const { join } = require("node:path");

const REDRAW_MS = 500;
// Where output goes to a file, a line now and then is enough to see that it lives.
const REPORT_MS = 10_000;

class SetupError extends Error {}

/**
 * `npm ci` in `directory`, which holds package.json and package-lock.json. Rejects with SetupError.
 * `what` names the work for people; `flags` go to npm.
 */
async function npmCi(directory, what, flags = []) {
	const [file, prefix] = npmCommand();
	// On the command line: npm hands its own prefix to scripts in the environment, which would win over the working directory.
	const args = [
		...prefix,
		"ci",
		"--prefix",
		directory,
		"--no-audit",
		"--no-fund",
		"--ignore-scripts",
		"--loglevel=error",
		"--progress=false",
		...flags,
	];
	const stopProgress = showProgress(what, join(directory, "node_modules"));
	const outcome = await run(file, args, directory);
	stopProgress(outcome.kind === "ended" && outcome.status === 0);
	if (outcome.kind === "missing") {
		throw new SetupError(`${what} needs npm, and there is no \`npm\` on the PATH. It comes with Node: install Node 20 or newer together with npm.`);
	}
	if (outcome.status !== 0) throw new SetupError(`${what} failed: npm ended with ${outcome.status}.\n${advice(outcome.output)}`);
}

/** npm tells its scripts where it stands; otherwise it is looked up on the PATH. */
function npmCommand() {
	const own = process.env.npm_execpath;
	if (own !== undefined && /npm-cli\.c?js$/.test(own) && existsSync(own)) return [process.execPath, [own]];
	return ["npm", []];
}

function run(file, args, cwd) {
	return new Promise((resolve) => {
		const child = spawn(file, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
		let output = "";
		const keep = (chunk) => {
			output = (output + chunk).slice(-4000);
		};
		child.stdout.on("data", keep);
		child.stderr.on("data", keep);
		child.once("error", (error) => resolve(error.code === "ENOENT" ? { kind: "missing" } : { kind: "ended", status: error.message, output }));
		child.once("close", (status, signal) => resolve({ kind: "ended", status: status ?? signal, output }));
	});
}

function advice(output) {
	const told = output.trim() === "" ? "" : `${output.trim().replace(/^/gm, "  ")}\n`;
	if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ECONNRESET|ENETUNREACH|ENOTCACHED/.test(output)) {
		return `${told}The npm registry cannot be reached. This is needed once; later starts work offline. Behind a proxy or a mirror: npm config set proxy / registry.`;
	}
	if (/ENOSPC/.test(output)) return `${told}The disk is full.`;
	if (/EINTEGRITY/.test(output))
		return `${told}What the registry sent is not what the lock file expects. Try \`npm cache clean --force\`; if it stays, do not trust that registry.`;
	return told;
}

/** Returns the function that ends the show. */
function showProgress(what, directory) {
	const startedMs = Date.now();
	const terminal = process.stderr.isTTY === true;
	const line = (end) => {
		const seconds = Math.round((Date.now() - startedMs) / 1000);
		return `nexus: ${what}${end} ${seconds} s, ${Math.round(bytesIn(directory) / 1e6)} MB`;
	};
	if (!terminal) process.stderr.write(`nexus: ${what} ...\n`);
	const timer = setInterval(() => process.stderr.write(terminal ? `\r\x1b[K${line(":")}` : `${line(":")}\n`), terminal ? REDRAW_MS : REPORT_MS);
	return (well) => {
		clearInterval(timer);
		process.stderr.write(`${terminal ? "\r\x1b[K" : ""}${line(well ? ": done in" : ": stopped after")}\n`);
	};
}

function bytesIn(path) {
	let bytes = 0;
	try {
		for (const entry of readdirSync(path, { withFileTypes: true })) {
			const inner = join(path, entry.name);
			bytes += entry.isDirectory() ? bytesIn(inner) : lstatSync(inner).size;
		}
	} catch {
		// npm moves files about while we count: what vanished counts nothing.
	}
	return bytes;
}

module.exports = { npmCi, SetupError };
