"use strict";
/** Installs the packages of package-lock.json where they are missing or older than it says. */
const { existsSync, readFileSync } = require("node:fs");
const { join } = require("node:path");
const { npmCi } = require("./npm.js");
const { ROOT } = require("./runtime.js");

/** Rejects with SetupError. Touches nothing, and no network, where all is in place. */
async function ensureDependencies() {
	if (!matchesLock()) await npmCi(ROOT, "installing the packages of package-lock.json", ["--include=dev", "--include=optional"]);
}

/** A cheap look for the program itself: an installation that is there, whole or without development packages, is left alone. */
function hasDependencies() {
	return existsSync(join(ROOT, "node_modules"));
}

// npm keeps its own record of what it installed and writes it last, so it is missing after an interrupted installation.
function matchesLock() {
	const installed = packagesOf(join(ROOT, "node_modules", ".package-lock.json"));
	const wanted = packagesOf(join(ROOT, "package-lock.json"));
	if (installed === undefined || wanted === undefined) return false;
	return Object.entries(wanted).every(([path, entry]) => {
		const found = installed[path];
		if (path === "" || (found === undefined && !isNeeded(entry))) return true;
		return found !== undefined && found.version === entry.version && found.integrity === entry.integrity;
	});
}

function packagesOf(file) {
	try {
		return JSON.parse(readFileSync(file, "utf8")).packages;
	} catch {
		return undefined;
	}
}

// A checkout that two systems share (a container with the sources mounted) needs the binaries of the present one.
// Entries that ask for a C library are left to npm's judgement.
function isNeeded({ optional, os, cpu, libc }) {
	if (optional !== true) return true;
	if (os === undefined || cpu === undefined || libc !== undefined) return false;
	return os.includes(process.platform) && cpu.includes(process.arch);
}

module.exports = { ensureDependencies, hasDependencies };
