/** What the tests of Nexus share: logs in directories of their own, events, and a Nexus over real sockets. */
import type { TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { type Logger, silentLogger } from "../../src/core/log.ts";
import { DEFAULT_CONFIG } from "../../src/nexus/config/config.ts";
import { type Nexus, type NexusOptions, startNexus } from "../../src/nexus/nexus.ts";

export { batchOf, eventJson, idOf, numbered, openLog, readAll, type TestEvent, temporaryDir } from "./log/support.ts";

export async function serveNexus(t: TestContext, dir: string, options: Partial<NexusOptions> = {}): Promise<{ nexus: Nexus; url: string }> {
	const logger: Logger = silentLogger;
	const listen = { host: "127.0.0.1", port: 0 };
	const nexus = await startNexus({ ...DEFAULT_CONFIG, listen, dataDir: dir, clock: systemClock, logger, version: "0.0.0", ...options });
	t.after(() => nexus.close());
	return { nexus, url: `http://127.0.0.1:${nexus.address.port}` };
}
