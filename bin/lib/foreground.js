"use strict";
/** Runs a program in our place: its signals, its terminal and its end are ours. */
const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const FORWARDED = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR2"];
// What a terminal sends to every process in front of it by itself: passed on as well, one key press would count twice.
const FROM_TERMINAL = new Set(["SIGINT", "SIGQUIT"]);

/**
 * Never returns control to the caller's program: the present process ends as the child did, with its status or by its signal.
 * `watched` gives the child a channel whose end tells it that we were killed.
 */
function runInOurPlace(file, args, { env = process.env, cwd, watched = false } = {}) {
	const child = spawn(file, args, { cwd, env, stdio: watched ? ["inherit", "inherit", "inherit", "ipc"] : "inherit" });
	const inTerminal = process.stdin.isTTY === true;
	for (const signal of FORWARDED) {
		process.on(signal, () => {
			if (!(inTerminal && FROM_TERMINAL.has(signal))) child.kill(signal);
		});
	}
	child.once("error", (error) => {
		process.stderr.write(`nexus: ${file} does not start: ${error.message}\n`);
		process.exit(70);
	});
	child.once("exit", (status, signal) => {
		if (signal === null) process.exit(status);
		for (const name of FORWARDED) process.removeAllListeners(name);
		process.kill(process.pid, signal);
		// Still here: a signal whose default is not to end a process, or we are the first process of a container.
		setTimeout(() => process.exit(128 + constants.signals[signal]), 100);
	});
}

module.exports = { runInOurPlace };
