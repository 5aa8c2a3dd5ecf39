/** A process that does nothing but append to an embedded log and tell each acknowledgement, until it is killed. Arguments: directory, generation. */
import { writeSync } from "node:fs";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { openEmbeddedLog } from "../../../src/nexus/log/embedded-log.ts";
import { batchOf, numbered } from "./events.ts";

const [dir = "", generation = ""] = process.argv.slice(2);
const { log } = openEmbeddedLog({ dir, clock: systemClock, log: silentLogger, segmentBytes: 60_000, extentBytes: 15_000 });

/** One after another, as a producer does that waits for its answers. */
async function produce(producer: number): Promise<never> {
	for (let n = 0; ; n++) {
		const name = `${generation}-${producer}-${n}`;
		const outcome = await log.append(batchOf(numbered(`${name}-`, 4, { data: "x".repeat(n % 200) })));
		// At once and whole: what is told is out of the process before anything else happens.
		if (outcome.ok) writeSync(1, `${name}\n`);
	}
}

await Promise.all([0, 1, 2].map(produce));
