/** A real Nexus process that is killed in the middle of its work: what it acknowledged is there, once. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { seededRng } from "../../src/core/rng.ts";
import { BATCH_TYPE, STRUCTURED_TYPE } from "../../src/events/http-binding.ts";
import { type NexusProcess, spawnNexus } from "./nexus-process.ts";
import { eventJson, idOf, numbered, openLog, readAll, temporaryDir } from "./support.ts";

// About half a second each on a busy machine.
const ROUNDS = 16;
const PRODUCERS = 6;
const BATCH = 16;

/** Sends a batch; undefined where the connection broke, so that nobody knows. */
async function send(url: string, ids: readonly string[]): Promise<{ accepted: number; duplicates: number } | undefined> {
	const body = `[${ids.map((id) => eventJson({ id, data: { text: "x".repeat(100) } })).join(",")}]`;
	try {
		const response = await fetch(`${url}/v1/events`, { method: "POST", headers: { "content-type": BATCH_TYPE }, body });
		assert.equal(response.status, 200);
		return (await response.json()) as { accepted: number; duplicates: number };
	} catch (thrown) {
		if (thrown instanceof TypeError || (thrown instanceof Error && thrown.name === "SyntaxError")) return undefined;
		throw thrown;
	}
}

test("kill -9 during ingest loses no acknowledged event and takes none twice, round after round", async (t) => {
	const dir = temporaryDir(t);
	const random = seededRng(20);
	const attempted = new Set<string>();
	const acknowledged = new Set<string>();
	/** Sent, and nobody knows whether it was kept: sent again in the next round, as a producer would. */
	let unknown: (readonly string[])[] = [];
	let running: NexusProcess | undefined;
	t.after(() => running?.child.kill("SIGKILL"));
	for (let round = 0; round < ROUNDS; round++) {
		const nexus = await spawnNexus(["--listen", "127.0.0.1:0", "--data", dir]);
		running = nexus;
		for (const ids of unknown) {
			const answer = await send(nexus.url, ids);
			assert.equal(answer && answer.accepted + answer.duplicates, BATCH);
			for (const id of ids) acknowledged.add(id);
		}
		const known = [...acknowledged].slice(-BATCH);
		if (known.length > 0) assert.deepEqual(await send(nexus.url, known).then((answer) => answer?.duplicates), BATCH, "known after the restart");
		unknown = [];
		const killAfter = Math.floor(random() * 60);
		let answers = 0;
		const killed = Promise.withResolvers<void>();
		const produce = async (producer: number): Promise<void> => {
			for (let n = 0; ; n++) {
				const ids = numbered(`${round}-${producer}-${n}-`, BATCH).map(({ id }) => id);
				for (const id of ids) attempted.add(id);
				const answer = await send(nexus.url, ids);
				if (answer === undefined) {
					unknown.push(ids);
					return;
				}
				assert.equal(answer.accepted, BATCH);
				for (const id of ids) acknowledged.add(id);
				if (answers++ === killAfter) void nexus.stop("SIGKILL").then(() => killed.resolve());
			}
		};
		await Promise.all(Array.from({ length: PRODUCERS }, (_, producer) => produce(producer)));
		await killed.promise;
	}
	const { log } = openLog(t, dir);
	const stored = (await readAll(log, { limit: 1000 })).map(idOf);
	const kept = new Set(stored);
	assert.equal(stored.length, kept.size, "taken twice");
	assert.deepEqual(
		[...acknowledged].filter((id) => !kept.has(id)),
		[],
		"lost",
	);
	assert.deepEqual(
		stored.filter((id) => !attempted.has(id)),
		[],
		"never sent",
	);
	assert.ok(acknowledged.size > ROUNDS * BATCH);
});

test("SIGTERM finishes what is in hand and exits 0; a second Nexus on the same data is refused; kill -9 leaves no lock", async (t) => {
	const dir = temporaryDir(t);
	const args = ["--listen", "127.0.0.1:0", "--data", dir];
	const first = await spawnNexus(args);
	t.after(() => first.child.kill("SIGKILL"));
	await assert.rejects(
		spawnNexus(args),
		new RegExp(`ended with 1: nexus serve: the data directory .* in use by another Nexus \\(process ${first.child.pid}\\)`),
	);
	await Promise.all(
		Array.from({ length: 20 }, (_, i) =>
			send(
				first.url,
				numbered(`${i}-`, BATCH).map(({ id }) => id),
			),
		),
	);
	const stream = await fetch(`${first.url}/v1/events/stream`);
	const { hostname, port } = new URL(first.url);
	const slow = connect(Number(port), hostname);
	const body = eventJson({ id: "in hand" });
	slow.write(`POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${STRUCTURED_TYPE}\r\ncontent-length: ${body.length}\r\n\r\n`);
	while (!/in_flight_bytes [1-9]/.test(await (await fetch(`${first.url}/metrics`)).text()));
	const stopped = first.stop("SIGTERM");
	// The stream ends once draining has begun; only then the body is sent.
	await stream.text();
	slow.write(body);
	let answer = "";
	for await (const chunk of slow) answer += String(chunk);
	assert.match(answer, /^HTTP\/1\.1 200 .*"accepted":1/s);
	assert.deepEqual(await stopped, { code: 0, signal: null });
	const second = await spawnNexus(args);
	await second.stop("SIGKILL");
	const third = await spawnNexus(args);
	t.after(() => third.child.kill("SIGKILL"));
	const page = (await (await fetch(`${third.url}/v1/events?order=desc&limit=1`)).json()) as { events: { sequence: number }[] };
	assert.equal(page.events[0]?.sequence, 20 * BATCH + 1);
	assert.deepEqual(await third.stop("SIGTERM"), { code: 0, signal: null });
});

test("a taken port, a wrong address and a wrong configuration are told, with exit code 1", async (t) => {
	const dir = temporaryDir(t);
	const nexus = await spawnNexus(["--listen", "127.0.0.1:0", "--data", dir]);
	t.after(() => nexus.child.kill("SIGKILL"));
	const { host } = new URL(nexus.url);
	await assert.rejects(
		spawnNexus(["--listen", host, "--data", `${dir}/other`]),
		/ended with 1: nexus serve: .* is in use: another process listens there/,
	);
	await assert.rejects(spawnNexus(["--listen", "nonsense", "--data", `${dir}/other`]), /ended with 1: nexus serve: --listen nonsense has no port/);
	await assert.rejects(spawnNexus(["--config", `${dir}/missing.yaml`]), /ended with 1: nexus serve: ENOENT/);
	await nexus.stop("SIGKILL");
});
