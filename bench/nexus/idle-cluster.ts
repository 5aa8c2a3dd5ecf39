/**
 * What several nodes cost the state and each other while nothing happens: `node bench/nexus/idle-cluster.ts`. Real nodes with the lease that they
 * have by default, on real servers; what is not installed is left out. For docs/decisions/0103.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { Client } from "pg";
import { settled } from "../../test/nexus/cluster/nodes.ts";
import { skipWithout, startNats, startRedis } from "../../test/nexus/log/servers.ts";
import { type NexusProcess, spawnNexus } from "../../test/nexus/nexus-process.ts";
import { PostgresServer, skipWithoutPostgres } from "../../test/nexus/state/postgres-server.ts";
import { cpuTime } from "../cpu.ts";

/** `asked`: questions and writes that the server of the state has seen so far. */
interface Started {
	readonly engines: string;
	readonly asked: () => Promise<number>;
}

interface Contestant {
	readonly name: string;
	readonly skip: string | false;
	readonly start: (t: TestContext) => Promise<Started>;
}

const MEASURE_MS = 30_000;
/** Who has joined is at rest after that. */
const SETTLE_MS = 5_000;
const COUNTS: readonly number[] = [1, 2, 4];

const CONTESTANTS: readonly Contestant[] = [
	{
		name: "nats + nats",
		skip: skipWithout("nats-server"),
		async start(t) {
			const { address, monitor } = await startNats(t);
			return {
				engines: `log: { nats: { servers: ['${address}'] } }\n`,
				asked: async () => ((await (await fetch(`${monitor}/varz`)).json()) as { in_msgs: number }).in_msgs,
			};
		},
	},
	{
		name: "redis + postgres",
		skip: skipWithout("redis-server") || skipWithoutPostgres,
		async start(t) {
			const postgres = await PostgresServer.start();
			t.after(() => postgres.stop());
			const client = new Client({ connectionString: postgres.url });
			client.on("error", () => {});
			await client.connect();
			const { url } = await startRedis(t, ["--appendonly", "yes", "--appendfsync", "always"]);
			return {
				engines: `log: { redis: { url: '${url}' } }\nstate: { postgres: { url: '${postgres.url}' } }\n`,
				async asked() {
					const { rows } = await client.query<{ done: string }>("SELECT sum(xact_commit + xact_rollback) AS done FROM pg_stat_database");
					return Number(rows[0]?.done);
				},
			};
		},
	},
];

for (const contestant of CONTESTANTS) {
	if (contestant.skip !== false) process.stdout.write(`${contestant.name}: left out, ${contestant.skip}\n`);
	else for (const count of COUNTS) process.stdout.write(`${await measure(contestant, count)}\n`);
}

async function measure({ name, start }: Contestant, count: number): Promise<string> {
	const ends: (() => unknown)[] = [];
	const t = { after: (end: () => unknown) => void ends.push(end) } as unknown as TestContext;
	const dir = mkdtempSync(join(tmpdir(), "nexus-bench-"));
	ends.push(() => rmSync(dir, { recursive: true, force: true }));
	try {
		const { engines, asked } = await start(t);
		const nodes: NexusProcess[] = [];
		for (let n = 0; n < count; n++) {
			mkdirSync(join(dir, `${n}`));
			const file = join(dir, `${n}`, "nexus.yaml");
			writeFileSync(file, `listen: 127.0.0.1:0\ndata: ./data\n${engines}`);
			const node = await spawnNexus(["--config", file]);
			ends.push(() => node.stop("SIGKILL"));
			nodes.push(node);
		}
		await settled(nodes);
		await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
		const look = async (): Promise<{ commits: number; groups: number; asked: number; cpuUs: number; atMs: number }> => {
			const metrics = await Promise.all(nodes.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
			const sum = (metric: string): number =>
				metrics.reduce((total, text) => total + Number(new RegExp(`^${metric} (\\S+)$`, "m").exec(text)?.[1]), 0);
			const cpuUs = nodes.reduce((total, { child }) => total + usedBy(child.pid ?? 0), 0);
			const seen = { commits: sum("nexus_state_commits_total"), groups: sum("nexus_state_groups_total"), asked: await asked(), cpuUs };
			return { ...seen, atMs: performance.now() };
		};
		const before = await look();
		await new Promise((resolve) => setTimeout(resolve, MEASURE_MS));
		const after = await look();
		const seconds = (after.atMs - before.atMs) / 1000;
		const perNode = (what: "commits" | "groups" | "asked"): string => ((after[what] - before[what]) / seconds / count).toFixed(2);
		const cpu = ((after.cpuUs - before.cpuUs) / seconds / count / 10_000).toFixed(2);
		return `| ${name} | ${count} | ${perNode("commits")} | ${perNode("groups")} | ${perNode("asked")} | ${cpu} % |`;
	} finally {
		for (const end of ends.reverse()) await end();
	}
}

function usedBy(pid: number): number {
	const { userUs, systemUs } = cpuTime(pid);
	return userUs + systemUs;
}
