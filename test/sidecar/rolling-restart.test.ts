/** An upstream is restarted instance by instance under load, as a deployment does it. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { rawClient } from "../support/raw-peer.ts";
import { startSidecar } from "./support.ts";

const CLIENTS = 200;

/** A service process: it can be stopped as SIGTERM stops one, and started again on the same port. */
class Instance {
	readonly name: string;
	port = 0;
	served = 0;
	#server: Server | undefined;

	constructor(name: string) {
		this.name = name;
	}

	async start(): Promise<void> {
		const server = createServer((_req, res) => {
			// In a later turn, so that there is always something in flight.
			setImmediate(() => {
				this.served++;
				res.writeHead(200, { "content-length": this.name.length }).end(this.name);
			});
		});
		server.keepAliveTimeout = 65_000;
		this.#server = server;
		await new Promise<void>((resolve) => server.listen(this.port, "127.0.0.1", resolve));
		this.port = (server.address() as AddressInfo).port;
	}

	/** No new connections, answers what is in flight, closes what is idle. */
	async stop(): Promise<void> {
		const server = this.#server;
		if (server === undefined) return;
		this.#server = undefined;
		const state = { isClosed: false };
		const closed = new Promise<void>((resolve) => {
			server.close(() => {
				state.isClosed = true;
				resolve();
			});
		});
		while (!state.isClosed) {
			server.closeIdleConnections();
			await new Promise((resolve) => setImmediate(resolve));
		}
		await closed;
	}
}

async function restartEach(t: TestContext, upstream: string): Promise<void> {
	const instances = [new Instance("one"), new Instance("two"), new Instance("three")];
	for (const instance of instances) {
		await instance.start();
		t.after(() => instance.stop());
	}
	const endpoints = instances.map(({ port }) => `{ address: "127.0.0.1:${port}" }`).join(", ");
	const sidecar = await startSidecar(t, `outbound: { listen: "127.0.0.1:0" }\nupstreams:\n  payments: { endpoints: [ ${endpoints} ]${upstream} }\n`);
	const state = { isOver: false };
	t.after(() => {
		state.isOver = true;
	});
	let answered = 0;
	const load = Promise.all(
		Array.from({ length: CLIENTS }, async () => {
			const client = await rawClient(t, sidecar.port("outbound"));
			for (let n = 0; !state.isOver; n++) {
				client.send("GET / HTTP/1.1\r\nHost: payments\r\n\r\n");
				const answer = await client.answer(n);
				assert.equal(answer.status, 200, answer.body.toString());
				answered++;
			}
		}),
	);
	const moreAnswers = async (count: number): Promise<void> => {
		const until = answered + count;
		const waited = (async () => {
			while (answered < until) await new Promise((resolve) => setImmediate(resolve));
		})();
		await Promise.race([waited, load]);
	};
	await moreAnswers(2 * CLIENTS);
	for (let round = 0; round < 2; round++) {
		for (const instance of instances) {
			await instance.stop();
			const { served } = instance;
			await moreAnswers(3 * CLIENTS);
			assert.equal(instance.served, served, "it is down");
			await instance.start();
			await moreAnswers(3 * CLIENTS);
		}
	}
	state.isOver = true;
	await load;
	assert.equal(await sidecar.metric("nexus_requests_total", { upstream: "payments", status_class: "5xx" }), 0);
	assert.equal(await sidecar.metric("nexus_requests_total", { upstream: "payments", status_class: "2xx" }), answered);
	assert.ok((await sidecar.metric("nexus_request_retries_total", { upstream: "payments" })) > 0, "the restarts were felt");
	for (const instance of instances) assert.ok(instance.served > 0);
}

describe("a rolling restart under 200 concurrent clients loses no idempotent request", { timeout: 120_000 }, () => {
	for (const [name, upstream] of [
		["by turns, without health checks", ""],
		["to the least loaded, which a stopped instance always seems to be", ", loadBalancing: least-connections"],
		["with health checks", ", healthCheck: { kind: tcp, interval: 100ms, timeout: 100ms, unhealthyThreshold: 1, healthyThreshold: 1 }"],
	] as const) {
		it(name, (t) => restartEach(t, upstream));
	}
});
