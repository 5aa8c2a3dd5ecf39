/** `nexus sidecar`: reads the policy, runs the sidecar until a signal, and says with which code the process ends. */
import { readFileSync } from "node:fs";
import { systemClock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { systemRng } from "../core/rng.ts";
import { watchFile } from "../core/watch-file.ts";
import { formatFaults } from "../policy/load.ts";
import { loadPolicyFile } from "../policy/load-file.ts";
import { createLogger } from "../telemetry/log.ts";
import { Sidecar } from "./sidecar.ts";

const EXIT_INPUT = 1;
const LOG_FLUSH_MS = 500;

/** Resolves with the exit code: 0 after a drain, 1 where the policy or an address is wrong, 128 + n at a second signal. */
export async function runSidecar({ configFile }: { readonly configFile: string }): Promise<number> {
	const stopped = whenToldToStop();
	// Before the file is read, so that a change during the start is not missed.
	const changes = followFile(configFile);
	try {
		return await run(configFile, changes, stopped);
	} finally {
		changes.stop();
	}
}

async function run(configFile: string, changes: FileChanges, stopped: StopSignals): Promise<number> {
	const { text, result } = await loadPolicyFile(configFile, process.env, 1);
	if (!result.ok) return refuse(formatFaults(result.faults, text));
	const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
	const { service } = result.snapshot;
	const log = createLogger({ level: "info", fields: { service } });
	const sidecar = new Sidecar(service, { configFile, env: process.env, clock: systemClock, rng: systemRng, log, version });
	try {
		// A start may wait for its first certificate, and be told to stop meanwhile.
		const faults = await Promise.race([sidecar.start(result.snapshot), stopped.first]);
		if (faults !== undefined && faults.length > 0) return refuse(formatFaults(faults, text));
	} catch (error) {
		return refuse(`the admin API cannot listen: ${messageOf(error)}`);
	}
	changes.forward(() => void sidecar.reload());
	process.on("SIGHUP", () => void sidecar.reload());
	await stopped.first;
	changes.stop();
	const code = await Promise.race([sidecar.close("signal").then(() => 0), stopped.second]);
	await log.flush(LOG_FLUSH_MS);
	return code;
}

function refuse(text: string): number {
	process.stderr.write(`${text}\n`);
	return EXIT_INPUT;
}

interface FileChanges {
	/** Calls back for each change from the first look on, those before this call included. */
	forward(onChange: () => void): void;
	stop(): void;
}

function followFile(path: string): FileChanges {
	let missed = false;
	let onChange = (): void => {
		missed = true;
	};
	const watch = watchFile(path, { clock: systemClock, onChange: () => onChange() });
	return {
		forward(listener) {
			onChange = listener;
			if (missed) listener();
		},
		stop: () => watch.stop(),
	};
}

interface StopSignals {
	readonly first: Promise<void>;
	readonly second: Promise<number>;
}

/** `first` resolves at the first SIGTERM or SIGINT; `second` at the next one, with the exit code of whoever will not wait. */
function whenToldToStop(): StopSignals {
	const first = Promise.withResolvers<void>();
	const second = Promise.withResolvers<number>();
	let signals = 0;
	const on = (code: number) => (): void => {
		if (++signals === 1) first.resolve();
		else second.resolve(code);
	};
	process.on("SIGTERM", on(128 + 15));
	process.on("SIGINT", on(128 + 2));
	return { first: first.promise, second: second.promise };
}
