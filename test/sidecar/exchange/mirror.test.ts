/** Copies of requests for another upstream: what they hold, and that the original never notices what becomes of them. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { FakeClock } from "../../support/fake-clock.ts";
import { freePorts } from "../../support/processes.ts";
import { ok } from "../../support/raw-peer.ts";
import type { StrictMessage } from "../../support/strict-reader.ts";
import {
	AT_ONCE,
	assertAllReturned,
	fieldOf,
	type Group,
	GUARD,
	get,
	group,
	reply,
	startOutbound,
	type Tried,
	turns,
	until,
	upstream,
} from "./support.ts";

interface Mirrored {
	readonly tested: Tried;
	readonly original: Group;
	readonly shadow: Group;
	readonly clock: FakeClock;
}

type Answer = Parameters<typeof group>[2];

async function mirrored(
	t: TestContext,
	options: { shadow?: Answer; keys?: string; shadowKeys?: string; percent?: string; original?: Answer } = {},
): Promise<Mirrored> {
	const clock = new FakeClock();
	const original = await group(t, 1, options.original ?? (() => ok("original")));
	const shadow = await group(t, 1, options.shadow ?? (() => ok("shadow")));
	const percent = options.percent === undefined ? "" : `, percent: ${options.percent}`;
	const routes = `{ name: all, match: { host: api }, to: api, mirror: { to: shadow${percent} } }`;
	const more = `  shadow: ${upstream(shadow.upstreams, options.shadowKeys ?? "")}\n`;
	const tested = await startOutbound(t, original.upstreams, options.keys ?? "", { routes, more, clock });
	return { tested, original, shadow, clock };
}

function without(request: StrictMessage | undefined, ...names: string[]): string[] {
	return (request?.fields ?? [])
		.map(([name, value]) => `${name.toLowerCase()}: ${value}`)
		.filter((line) => !names.some((name) => line.startsWith(`${name}:`)));
}

const counted = async ({ tested }: Mirrored, result: string): Promise<number> =>
	tested.metric("nexus_mirror_requests_total", { upstream: "shadow", result });

describe("a mirrored request", GUARD, () => {
	it("goes to both, the copy marked with the id of the original, and only the original is answered", async (t) => {
		const all = await mirrored(t);
		const answer = await all.tested.ask(get("X-Request-Id: r1\r\nX-Own: 1\r\n", "/a?b=c"));
		assert.equal(answer.body.toString(), "original");
		await until(() => all.shadow.seen.length === 1);
		const [copy, original] = [all.shadow.seen[0]?.request, all.original.seen[0]?.request];
		assert.equal(copy?.startLine, original?.startLine);
		assert.equal(fieldOf(copy as StrictMessage, "x-mirror-of"), "r1");
		assert.equal(fieldOf(original as StrictMessage, "x-mirror-of"), undefined);
		assert.deepEqual(without(copy, "x-mirror-of"), without(original, "x-nexus-deadline-ms"));
		await until(() => all.tested.upstream("shadow").endpoints[0]?.activeRequests === 0);
		assertAllReturned(all.tested);
		assert.equal(await counted(all, "sent"), 1);
	});

	it("says in its trace where the copy goes", async (t) => {
		const { tested } = await mirrored(t);
		const answer = await tested.ask(get("X-Nexus-Trace: copied\r\n"));
		assert.match(fieldOf(answer, "x-nexus-trace") ?? "", /; mirror=shadow\([^)]*policy\.yaml:\d+\)/);
	});

	for (const [what, send, body] of [
		["small and with a length", (body: string) => `PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: ${body.length}\r\n\r\n${body}`, "small"],
		["large and with a length", (body: string) => `PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: ${body.length}\r\n\r\n${body}`, "b".repeat(60_000)],
		[
			"in chunks",
			(body: string) => `POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
			"c".repeat(20_000),
		],
	] as const) {
		for (const keys of ["", "retry: { attempts: 0 }"]) {
			it(`with a body that is ${what} is copied whole${keys === "" ? "" : ", also where nothing is tried again"}`, async (t) => {
				const all = await mirrored(t, { keys });
				assert.equal((await all.tested.ask(send(body))).status, 200);
				await until(() => all.shadow.seen.length === 1);
				for (const { seen } of [all.original, all.shadow]) assert.ok(seen[0]?.request.body.toString() === body);
			});
		}
	}

	it("with a body beyond what is kept is not copied, and counted", async (t) => {
		const all = await mirrored(t);
		const body = "b".repeat(200_000);
		const client = await all.tested.client();
		client.send(`PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: ${body.length}\r\n\r\n`);
		await turns(5);
		client.send(body.slice(0, 100_000));
		await turns(5);
		client.send(body.slice(100_000));
		assert.equal((await client.answer()).status, 200);
		await turns();
		assert.deepEqual([all.shadow.seen.length, await counted(all, "skipped")], [0, 1]);
	});

	it("whose body never comes is not copied", async (t) => {
		const all = await mirrored(t);
		const client = await all.tested.client();
		client.send("PUT / HTTP/1.1\r\nHost: api\r\nContent-Length: 10\r\n\r\nhalf");
		await until(() => all.tested.upstream("api").endpoints[0]?.activeRequests === 1);
		client.reset();
		await until(() => all.tested.upstream("api").endpoints[0]?.activeRequests === 0);
		await turns();
		assert.equal(all.shadow.upstreams[0]?.connections.length, 0);
	});

	it("is copied once, however often it is tried", async (t) => {
		const all = await mirrored(t, { keys: `retry: { ${AT_ONCE} }`, original: (nth) => (nth === 0 ? reply(503) : ok("original")) });
		assert.equal((await all.tested.ask(get())).status, 200);
		await until(() => all.shadow.seen.length > 0);
		await turns();
		assert.deepEqual([all.original.seen.length, all.shadow.seen.length], [2, 1]);
	});

	it("is copied for as many as percent says", async (t) => {
		const all = await mirrored(t, { percent: "25" });
		for (let i = 0; i < 200; i++) await all.tested.ask(get());
		await turns();
		// The generator is seeded.
		assert.ok(all.shadow.seen.length > 30 && all.shadow.seen.length < 70, `${all.shadow.seen.length}`);
	});
});

describe("the original", GUARD, () => {
	it("does not notice a shadow that refuses connections", async (t) => {
		const clock = new FakeClock();
		const [dead] = await freePorts(1);
		const original = await group(t, 1, () => ok("original"));
		const routes = "{ name: all, match: { host: api }, to: api, mirror: { to: shadow } }";
		const tested = await startOutbound(t, original.upstreams, "", {
			routes,
			more: `  shadow: ${upstream([{ address: `127.0.0.1:${dead}` }], "")}\n`,
			clock,
		});
		for (let i = 0; i < 20; i++) assert.equal((await tested.ask(get())).body.toString(), "original");
		await until(() => tested.upstream("shadow").endpoints[0]?.activeRequests === 0);
		assert.equal(await tested.metric("nexus_mirror_requests_total", { upstream: "shadow", result: "failed" }), 20);
		assertAllReturned(tested);
	});

	for (const [what, shadow] of [
		["resets", (_: number, __: number, ___: unknown, connection: { reset(): void }) => void connection.reset()],
		["answers with 503", () => reply(503)],
		["answers with something that is no HTTP", () => "SSH-2.0\r\n\r\n"],
		[
			"closes in the middle of its answer",
			(_: number, __: number, ___: unknown, connection: { socket: { end(text: string): unknown } }) =>
				void connection.socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
		],
	] as const) {
		it(`does not notice a shadow that ${what}`, async (t) => {
			const all = await mirrored(t, { shadow: shadow as Answer });
			for (let i = 0; i < 10; i++) assert.equal((await all.tested.ask(get())).body.toString(), "original");
			await until(() => all.tested.upstream("shadow").endpoints[0]?.activeRequests === 0);
			assertAllReturned(all.tested);
		});
	}

	for (const [what, shadow] of [
		["never answers", () => undefined],
		["stops in the middle of its answer", () => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"],
	] as const) {
		it(`does not wait for a shadow that ${what}: it is given up in time, and no more than 64 copies are under way`, async (t) => {
			const all = await mirrored(t, { shadow, shadowKeys: "timeout: { request: 5s }" });
			const client = await all.tested.client();
			for (let i = 0; i < 80; i++) {
				client.send(get());
				assert.equal((await client.answer(i)).body.toString(), "original");
			}
			await until(() => all.shadow.seen.length === 64);
			assert.equal(await counted(all, "skipped"), 16);
			all.clock.advance(5200);
			await until(() => all.tested.upstream("shadow").endpoints[0]?.activeRequests === 0);
			assert.equal(await counted(all, "failed"), 64);
			assertAllReturned(all.tested);
			// There is room for copies again.
			client.send(get());
			await client.answer(80);
			await until(() => all.shadow.seen.length === 65);
		});
	}

	it("does not notice that the breaker of the shadow is open", async (t) => {
		const all = await mirrored(t, { shadowKeys: "circuitBreaker: { failureThreshold: 1 }", shadow: () => reply(503) });
		for (let i = 0; i < 5; i++) assert.equal((await all.tested.ask(get())).body.toString(), "original");
		await until(() => all.tested.upstream("shadow").breakers[0]?.state === "open");
		await turns();
		assert.equal((await all.tested.ask(get())).status, 200);
		assertAllReturned(all.tested);
	});

	it("goes its way when its client leaves, and so does the copy", async (t) => {
		const all = await mirrored(t, { original: () => undefined });
		const client = await all.tested.client();
		client.send(get());
		await until(() => all.original.seen.length === 1 && all.shadow.seen.length === 1);
		client.reset();
		await until(() => all.tested.upstream("api").endpoints[0]?.activeRequests === 0);
		await until(() => all.tested.upstream("shadow").endpoints[0]?.activeRequests === 0);
		assertAllReturned(all.tested);
	});
});
