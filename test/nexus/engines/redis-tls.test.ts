/** The log on a Redis that lets in only users, and only over mutual TLS. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { openRedisLog } from "../../../src/nexus/log/redis-log.ts";
import { freePorts, temporaryFolder } from "../../support/processes.ts";
import { Server, skipWithout } from "../log/servers.ts";
import { PASSWORD, USER } from "./papers.ts";
import { engineSecurity, FIRST, type ServerFiles } from "./security.ts";

const skip = skipWithout("redis-server");
/** All that a log asks of Redis; what its scripts do counts as well. docs/engine-security.md says so. */
const COMMANDS = "ping eval xadd xrange xrevrange xread xtrim zadd zscore zremrangebyrank hget hset memory|usage config|get acl|dryrun";
const RIGHTS = `resetchannels ~{nexus}:* ${COMMANDS.split(" ")
	.map((name) => `+${name}`)
	.join(" ")}`;
const NOBODY = "user default off ~* &* +@all";

function startWith(t: TestContext, folder: string, port: number, lines: readonly string[]): Promise<Server> {
	const file = join(folder, "redis.conf");
	writeFileSync(file, [`port ${port}`, "bind 127.0.0.1", `dir ${folder}`, 'save ""', "appendonly yes", ...lines, ""].join("\n"));
	const isReady = async (): Promise<boolean> =>
		spawnSync("redis-cli", ["-p", String(port), "ping"])
			.stdout.toString()
			.startsWith("NOAUTH");
	return Server.start(t, { command: ["redis-server", file], folder, isReady });
}

engineSecurity("redis", {
	skip,
	async make(t, papers) {
		const [port = 0, plainPort = 0] = await freePorts(2);
		const folder = temporaryFolder(t, "redis-tls");
		const start = ({ server, ca, password }: ServerFiles): Promise<Server> => {
			return startWith(t, folder, plainPort, [
				`tls-port ${port}`,
				`tls-cert-file ${papers.path(`${server}.crt`)}`,
				`tls-key-file ${papers.path(`${server}.key`)}`,
				`tls-ca-cert-file ${papers.path(ca)}`,
				"tls-auth-clients yes",
				NOBODY,
				`user ${USER} on >${password} ${RIGHTS}`,
			]);
		};
		let running = await start(FIRST);
		return {
			port,
			plainPort,
			kill: () => running.kill(),
			async start(files) {
				running = await start(files);
			},
		};
	},
	config({ host, port, password, tls }) {
		const scheme = tls === undefined ? "redis" : "rediss";
		return `log: { redis: { url: "${scheme}://${host}:${port}", user: ${USER}, passwordFile: ${password}${tls === undefined ? "" : `, tls: ${tls}`} } }`;
	},
	plain: /no connection over TLS within 5000 ms; does it speak plain text/,
});

test("redis: a user whose events would be gone after the next restart is refused, with what to do", { skip }, async (t) => {
	const open = async (...users: string[]): Promise<void> => {
		const [port = 0] = await freePorts(1);
		await startWith(t, temporaryFolder(t, "redis-users"), port, users);
		const url = `redis://${USER}:${PASSWORD}@127.0.0.1:${port}`;
		const log = await openRedisLog({ url, prefix: "nexus", clock: systemClock, log: silentLogger });
		await log.close();
	};
	await open(NOBODY, `user ${USER} on >${PASSWORD} ${RIGHTS}`);
	await assert.rejects(
		open("user default off", `user ${USER} on >${PASSWORD} ~* +@all`),
		/would forget all events .*: write `user default off ~\* &\* \+@all`/,
	);
	await assert.rejects(open(NOBODY, `user ${USER} on >${PASSWORD} ${RIGHTS.replace("+acl|dryrun", "")}`), /give the user \+acl\|dryrun \(NOPERM/);
});
