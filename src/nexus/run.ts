/** `nexus serve`: configuration, start, readiness line, signals, drain. */
import { readFileSync } from "node:fs";
import { systemClock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { formatFaults, isRefusal } from "../policy/fault.ts";
import { parseTcpAddress } from "../policy/values.ts";
import { createLogger } from "../telemetry/log.ts";
import { DEFAULT_CONFIG, loadNexusConfig, type NexusConfig } from "./config/config.ts";
import { withoutSecrets } from "./config/secret-source.ts";
import { enginesText } from "./engines/engines.ts";
import { type Nexus, startNexus } from "./nexus.ts";

export interface RunNexusOptions {
	readonly configFile?: string;
	/** `host:port`; wins over the file. */
	readonly listen?: string;
	/** Wins over the file. */
	readonly dataDir?: string;
}

const EXIT_OK = 0;
const EXIT_INPUT = 1;
const LOG_FLUSH_MS = 1_000;

/** Resolves with the exit code: 0 after a drain, 1 where the configuration, the data directory or the address cannot be used. */
export async function runNexus(options: RunNexusOptions): Promise<number> {
	const config = readConfig(options);
	if (typeof config === "string") return refuse(config);
	const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
	const logger = createLogger({ level: "info", fields: { service: "nexus" } });
	const stop = stopSignals();
	let nexus: Nexus;
	try {
		nexus = await startNexus({ ...config, clock: systemClock, logger, version });
	} catch (thrown) {
		stop.ignore();
		return refuse(messageOf(thrown));
	}
	process.stdout.write(`${readyLine(nexus, config, options.configFile !== undefined)}\n${enginesText(nexus.engines)}\n`);

	const signal = await stop.first;
	logger.info("draining", { signal });
	// A second signal ends at once: what is acknowledged is on disk in any case.
	const failures = await Promise.race([nexus.close(), stop.second]);
	for (const failure of failures) logger.error(failure.message, { error: messageOf(failure.cause) });
	stop.ignore();
	await logger.flush(LOG_FLUSH_MS);
	return EXIT_OK;
}

/** The configuration, or what is wrong with it. */
function readConfig({ configFile, listen, dataDir }: RunNexusOptions): NexusConfig | string {
	let config = DEFAULT_CONFIG;
	if (configFile !== undefined) {
		let text: string;
		try {
			text = readFileSync(configFile, "utf8");
		} catch (thrown) {
			return messageOf(thrown);
		}
		const loaded = loadNexusConfig(text, configFile, process.env);
		if (!loaded.ok) return formatFaults(loaded.faults, withoutSecrets(text));
		config = loaded.config;
	}
	if (listen !== undefined) {
		const address = parseTcpAddress(listen, 0);
		if (isRefusal(address)) return `--listen ${listen} ${address.refused}: ${address.hint}`;
		config = { ...config, listen: address };
	}
	return dataDir === undefined ? config : { ...config, dataDir };
}

function readyLine(
	{ address: { host, port }, isSecure, log }: Nexus,
	{ dataDir, access: { anonymous } }: NexusConfig,
	isConfigured: boolean,
): string {
	const where = `${isSecure ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
	const local = anonymous.length === 0 ? "nothing" : anonymous.join(", ");
	const rights = `anonymous on loopback: ${local}${isConfigured ? "" : " (default, as there is no configuration file)"}`;
	return `nexus ready at ${where}, data in ${dataDir}, last sequence ${log.stats().lastSequence}, ${rights}`;
}

function stopSignals(): { first: Promise<string>; second: Promise<Error[]>; ignore(): void } {
	const first = Promise.withResolvers<string>();
	const second = Promise.withResolvers<Error[]>();
	let received = 0;
	const onSignal = (signal: string): void => {
		if (++received === 1) first.resolve(signal);
		else second.resolve([]);
	};
	for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, onSignal);
	return {
		first: first.promise,
		second: second.promise,
		ignore: () => void process.off("SIGTERM", onSignal).off("SIGINT", onSignal),
	};
}

function refuse(message: string): number {
	process.stderr.write(`nexus serve: ${message.trimEnd()}\n`);
	return EXIT_INPUT;
}
