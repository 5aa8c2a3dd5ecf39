/** docs/engines.md: what each engine of Nexus can do, made from the table that its start obeys, and which one to take. */

import { readFileSync } from "node:fs";
import { circumstances, withParts } from "../../bench/nexus/report.ts";
import { markdownTable } from "../../bench/table.ts";
import { capabilityTable } from "../../src/nexus/log/capability-table.ts";
import type { Page } from "../generate.ts";

const RESULTS = new URL("../../bench/results/nexus.json", import.meta.url);

const FIGURES_HEAD = `By \`npm run bench -- nexus --parts engines --docs\`: Nexus, the engine and the client on the same two cores, events of 500 bytes over HTTP, in batches of 64
with 8 in flight, and one by one. Good for telling the rows apart: a broker on machines of its own, and with copies, has other figures. Where log and
state are \`embedded\` and \`sqlite\`, more is possible with other ways to send: [benchmarks-nexus.md](benchmarks-nexus.md).
`;

const HEAD = `# Engines of Nexus

<!-- Made by \`node docs/generate.ts\` from src/nexus/log/capabilities.ts and docs/pages/engines.ts: change it there. -->

Nexus stands on a **log**, which keeps the events, and on a **state**, which keeps subscriptions and how far they are, dead letters, policies,
the registry and schemas. One line each chooses them; everything else about Nexus stays as it is.

\`\`\`yaml
log: embedded            # or memory, or nats: {...}, redis: {...}, kafka: {...}, rabbitmq: {...}
state: sqlite            # or memory, or postgres: {...}, nats: {...}; nats by itself where the log is on NATS
durability: disk         # optional: the least that an acknowledgement must promise
\`\`\`

\`config/nexus.yaml\` shows every key. \`nexus serve\` says what it stands on, what an acknowledgement means and what the log can and cannot do; so do
\`GET /v1/status\` and \`nexus log list\`. What does not go together, or is wanted of a log that cannot do it, ends the start with its place and a way out.

Secrets (URLs with passwords, tokens) come from the environment (\`\${REDIS_URL}\`) or from files of their own (\`urlFile\`, \`tokenFile\`); nothing prints them.

## Which one

| you have | take | because |
|---|---|---|
| one machine, tens of thousands of events/s, no broker | \`embedded\` + \`sqlite\`, the default | nothing to operate; durable on disk before the answer; the only one with compaction, limits by type and backups while it runs |
| tests, a demonstration | \`memory\` | nothing is left behind |
| two or more machines, up to some thousand events/s, nothing that runs already | \`nats\` for both | one small server (three for copies) keeps log and state; several nodes; \`sync_interval: always\` makes it durable on disk |
| Kafka that runs already, tens of thousands of events/s, several nodes | \`kafka\` + \`postgres\` | your copies, your operations, your other consumers; \`flush.messages=1\` on the topic makes it durable on disk |
| Redis that runs already, low latency | \`redis\` + \`sqlite\`, or + \`postgres\` for several nodes | \`appendfsync always\` makes it durable on disk; the memory of Redis bounds the log |
| RabbitMQ that runs already | \`rabbitmq\` + \`sqlite\`, or + \`postgres\` | a stream queue; reading from a time reads from the beginning |
| several regions | a Nexus (and a log) in each | a log has one order, and one order over an ocean costs its round trip with each event; subscriptions can deliver to a Nexus elsewhere |

A log is one order, so one stream or partition: what a single one of your broker's can take is what Nexus can. For more, run several Nexus for
several domains of events.

`;

const CAPABILITIES = `
## What each log can do

The same table decides at the start.

`;

const TAIL = `
## Several nodes

Where log and state can both be shared (log: nats, redis, kafka, rabbitmq; state: nats, postgres), any number of \`nexus serve\` may stand on them.
Each needs a data directory of its own: it holds the node's identity. All of them take events, answer queries and streams with the same sequences,
and hand out policies and the registry.

What only one node may do at a time stands under leases in the state (\`cluster: { lease: 10s }\`):

| what | what happens at the others | where its node dies |
|---|---|---|
| **subscriptions**: deliver, keep positions. Each is in one of 16 slices by its name alone, and the nodes share the slices evenly; each slice has a lease | \`/v1/subscriptions/NAME...\`, also a stream or a WebSocket, is answered 307 with the address of the node that has it (\`cluster.url\`, by default where it listens), or 503 with \`retry-after\` for the moment in which nobody has; the list is of all nodes and names the \`node\` of each | the others take its slices within the lease and some tenths of a second; what was under way is delivered again, keys stay in order, subscriptions of other nodes do not notice |
| \`retention\`: holds the log within its limits | nothing | the same |
| \`authority\`: certificates and deny list | a second node with \`authority\` does not start: those are files of one node | start it again on the same files, or on a copy of them |

A node that joins is handed its share in order, and hands it back when it stops (SIGTERM): what is under way is finished, positions are written down, then the next node goes on. Nothing is lost, and nothing comes
twice. More than 16 nodes share everything else, but not delivery; one subscription is always one node's. API tokens are rows of the shared state, good and taken back at every node.

A node that stood still (a pause of its machine, a long collection) delivers and writes nothing once its lease has run out: it asks its own monotonic clock before each delivery, and every position that it writes names
the lease, which the state compares. While the state is away for longer than the lease nobody delivers; all go on when it is back.

| where to look | what it says |
|---|---|
| \`GET /v1/status\` | nodes with their \`slices\`, \`duties\` of one node at a time, lag of all subscriptions |
| \`GET /readyz\` | \`trouble.dispatch\` while this node knows of slices that nobody has; it goes by itself |
| \`nexus_dispatching\` | part of the names that this node has; the sum over all nodes is 1. Alarm where it is not for longer than two leases |
| \`nexus_duty_held\` | \`retention\` and \`authority\` |

A redirect takes no \`authorization\` along in most clients when the host changes: put the nodes behind one name, or take the client of [client.md](client.md), which follows with its token and knows all nodes.

| tested under load with real processes | seen with a lease of 4 s (joining and SIGTERM: 10 s) |
|---|---|
| SIGKILL of one of two or three: NATS; Kafka with PostgreSQL | its subscriptions silent for 3.1 to 4.9 s (with a lease of 2 s: 2.0 to 2.8 s); mostly 4 to 10 events of each come again, of others none |
| SIGSTOP beyond the lease, then SIGCONT | the other one has them meanwhile; the one that wakes delivers nothing more |
| a third node joins | 0.2 to 0.6 s of silence for what moves; nothing comes twice |
| SIGTERM of one of three | 0.3 to 0.9 s; nothing comes twice |
| PostgreSQL away for longer than the lease (log on Redis) | events are taken; nobody delivers once the leases are over; when it is back all go on, and what was delivered while it could not be written down comes again: at most 1,000 events of a subscription, which waits then, and those under way |

Idle nodes cost the state one write each third of a lease and, where they are several, some reads a second: 0.3 writes and 4 to 11 questions a second and node with the lease of 10 s
([0103](decisions/0103-sixteen-slices-each-under-a-lease.md)). A shorter lease takes over sooner, costs as much more, and is lost by shorter pauses: 5 s and more for machines that are
busy. Why Nexus shares subscriptions out itself: [0104](decisions/0104-why-not-the-brokers-own-consumers.md).

## Backup, copies, moving to another engine

| command | what it does |
|---|---|
| \`nexus log backup\` | of a running embedded log: all that is durable at that moment, with digests, in its directory of backups (\`backups\` in the configuration) |
| \`nexus log restore BACKUP DIR\` | a new data directory, where every digest is right |
| \`nexus log copy --from A --to B\` | from any engine to any other; cut off, it goes on where it was; both are compared event by event at the end |
| \`nexus log verify\` | reads all of it; exit code 1 where something is damaged |

\`A\` and \`B\` are data directories, or configuration files that choose a log. Sequences may differ in the copy, so a state stays with the log that it was
opened with first: \`nexus serve\` refuses the other one, and asks for a state of its own.
`;

export const enginesPage: Page = {
	file: "docs/engines.md",
	render: () => HEAD + figures() + CAPABILITIES + capabilityTable() + TAIL,
};

/** Of the last run that was published. */
function figures(): string {
	const { engines } = withParts(readFileSync(RESULTS, "utf8"), {}).parts;
	const [table] = engines?.tables ?? [];
	if (engines === undefined || table === undefined) throw new Error("`npm run bench -- nexus --parts engines --docs` has not been run");
	return `${FIGURES_HEAD}
${markdownTable({ ...table, title: "Measured" })}
*${circumstances(engines)}*
`;
}
