/** A process that follows the log from the beginning, and resumes where its stream broke. */
import { NexusClient } from "../../../src/client/nexus-client.ts";
import { finishing, parameters, record } from "./record.ts";
import { digestOf, TYPE, type WorkEvent } from "./workload.ts";

export interface FollowerParameters {
	readonly url: string;
}

const { url } = parameters<FollowerParameters>();
finishing().addEventListener("abort", () => process.exit(0));
const events = new NexusClient({ url }).follow({ type: TYPE, after: 0 }, { onGap: (gap) => record({ what: "gap", ...gap }) });
for await (const { sequence, event } of events) {
	record({ what: "followed", sequence, id: event.id, digest: digestOf(event as unknown as WorkEvent) });
}
