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
	const { text, result } = await loadPolicyFile(configFile, process.env, 1);
	if (!result.ok) {
		process.stderr.write(`${formatFaults(result.faults, text)}\n`);
		return EXIT_INPUT;
	}
	const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
	const log = createLogger({ level: "info", fields: { service: result.snapshot.service } });
	const sidecar = new Sidecar(result.snapshot.service, { configFile, env: process.env, clock: systemClock, rng: systemRng, log, version });
	const stopped = whenToldToStop();
	try {
		const started = await sidecar.start(result.snapshot, text);
		if (!started.ok) {
			process.stderr.write(`${formatFaults(started.faults, text)}\n`);
			return EXIT_INPUT;
		}
	} catch (error) {
		process.stderr.write(`${messageOf(error)}\n`);
		return EXIT_INPUT;
	}
	const watch = watchFile(configFile, { clock: systemClock, onChange: () => void sidecar.reload() });
	process.on("SIGHUP", () => void sidecar.reload());
	await stopped.first;
	watch.stop();
	const code = await Promise.race([sidecar.close("signal").then(() => 0), stopped.second]);
	await log.flush(LOG_FLUSH_MS);
	return code;
}

/** `first` resolves at the first SIGTERM or SIGINT; `second` at the next one, with the exit code of whoever will not wait. */
function whenToldToStop(): { first: Promise<void>; second: Promise<number> } {
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
