/** The log on a Redis that lets in only users, and only over mutual TLS. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { openRedisLog } from "../../../src/nexus/log/redis-log.ts";
import { freePorts, NexusProcess, temporaryFolder } from "../../support/processes.ts";
import { Server, skipWithout } from "../log/servers.ts";
import { batchOf, numbered, openLog } from "../support.ts";
import { PASSWORD, Papers, SECRETS, USER } from "./papers.ts";
import { engineSecurity, FIRST, pageOf, type Reaching, type ServerFiles, TLS } from "./security.ts";

const skip = skipWithout("redis-server");
/** All that a log asks of Redis; what its scripts do counts as well. */
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

/** On both ports, of which one speaks TLS alone. */
function startSecure(
	t: TestContext,
	folder: string,
	papers: Papers,
	ports: readonly [secure: number, plain: number],
	files: ServerFiles,
): Promise<Server> {
	const { server, ca, password } = files;
	return startWith(t, folder, ports[1], [
		`tls-port ${ports[0]}`,
		`tls-cert-file ${papers.path(`${server}.crt`)}`,
		`tls-key-file ${papers.path(`${server}.key`)}`,
		`tls-ca-cert-file ${papers.path(ca)}`,
		"tls-auth-clients yes",
		NOBODY,
		`user ${USER} on >${password} ${RIGHTS}`,
	]);
}

function configOf({ host, port, password, tls }: Reaching): string {
	const scheme = tls === undefined ? "redis" : "rediss";
	return `log: { redis: { url: "${scheme}://${host}:${port}", user: ${USER}, passwordFile: ${password}${tls === undefined ? "" : `, tls: ${tls}`} } }`;
}

engineSecurity("redis", {
	skip,
	async make(t, papers) {
		const [port = 0, plainPort = 0] = await freePorts(2);
		const folder = temporaryFolder(t, "redis-tls");
		const start = (files: ServerFiles): Promise<Server> => startSecure(t, folder, papers, [port, plainPort], files);
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
	config: configOf,
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
	for (const line of [RIGHTS, NOBODY]) assert.ok(pageOf("engine-security").includes(`\n${line}\n`), line);
	await open(NOBODY, `user ${USER} on >${PASSWORD} ${RIGHTS}`);
	await assert.rejects(
		open("user default off", `user ${USER} on >${PASSWORD} ~* +@all`),
		/would forget all events .*: write `user default off ~\* &\* \+@all`/,
	);
	await assert.rejects(open(NOBODY, `user ${USER} on >${PASSWORD} ${RIGHTS.replace("+acl|dryrun", "")}`), /give the user \+acl\|dryrun \(NOPERM/);
});

test("redis: the commands take the same settings, and end with what is wrong of them", { skip }, async (t) => {
	const papers = await Papers.make(t);
	const [port = 0, plainPort = 0] = await freePorts(2);
	await startSecure(t, temporaryFolder(t, "redis-tls"), papers, [port, plainPort], FIRST);
	const reaching = { host: "localhost", port, password: "password", tls: TLS };
	papers.write("right.yaml", `listen: 127.0.0.1:0\ndata: ./right-data\n${configOf(reaching)}`);
	papers.write("wrong.yaml", `listen: 127.0.0.1:0\ndata: ./wrong-data\n${configOf({ ...reaching, password: "wrong" })}`);
	const run = async (...args: string[]): Promise<{ code: number | null; said: string }> => {
		const program = new NexusProcess(t, args, { cwd: papers.dir });
		const { code } = await program.ended;
		return { code, said: program.stdout + program.stderr };
	};
	const { log } = openLog(t, papers.path("old"));
	assert.ok((await log.append(batchOf(numbered("e", 300)))).ok);
	await log.close();

	for (const args of [
		["serve", "--config", "wrong.yaml"],
		["log", "copy", "--from", "old", "--to", "wrong.yaml"],
	]) {
		const { code, said } = await run(...args);
		assert.equal(code, 1, said);
		assert.match(said, /Redis at localhost:\d+: the login was refused: WRONGPASS/);
		assert.doesNotMatch(said, SECRETS);
	}
	const copied = await run("log", "copy", "--from", "old", "--to", "right.yaml");
	assert.equal(copied.code, 0, copied.said);
	const verified = await run("log", "verify", "right.yaml");
	assert.deepEqual([verified.code, (JSON.parse(verified.said) as { events: number }).events], [0, 300], verified.said);
	const nexus = new NexusProcess(t, ["serve", "--config", "right.yaml"], { cwd: papers.dir });
	const [, url = ""] = await nexus.said(/nexus ready at (\S+),.*last sequence 300/);
	for (const path of ["/v1/status", "/metrics", "/v1/events?limit=1"]) assert.doesNotMatch(await (await fetch(url + path)).text(), SECRETS);
	assert.doesNotMatch(nexus.stdout + nexus.stderr, SECRETS);
});
