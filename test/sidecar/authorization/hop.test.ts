/** Rules between two sidecars, as an application sees them: its own sidecar is the caller, with the identity that it has proven. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import WebSocket, { WebSocketServer } from "ws";
import { rawClient } from "../../support/raw-peer.ts";
import { type Echoed, echo, httpServer, startSidecar } from "../support.ts";
import { ask, type Guarded, guarded, reasonOf } from "./support.ts";

interface Hop {
	readonly service: Guarded;
	/** Outbound port of a sidecar with that identity. */
	outbound(caller: string): Promise<number>;
}

async function hop(
	t: TestContext,
	authorization: string,
	app: Parameters<typeof httpServer>[1] = echo("payments"),
	onServer?: (server: Awaited<ReturnType<typeof httpServer>>["server"]) => void,
): Promise<Hop> {
	const application = await httpServer(t, app);
	onServer?.(application.server);
	const service = await guarded(t, authorization, { address: application.address });
	return {
		service,
		async outbound(caller) {
			const identity = service.folder.identityOf(caller, await service.folder.issue(caller));
			const upstream = `upstreams: { payments: { endpoints: [ { address: "127.0.0.1:${service.sidecar.port("inbound")}" } ] } }\n`;
			const sidecar = await startSidecar(t, `${identity}outbound: { listen: "127.0.0.1:0" }\n${upstream}`, { service: caller });
			return sidecar.port("outbound");
		},
	};
}

const RULES = "{ rules: [ { name: orders, action: allow, from: [frontend], paths: [/orders/**] } ] }";

describe("a hop of two sidecars", { timeout: 60_000 }, () => {
	it("lets through whom the rules name, and hands on the refusal of everybody else as it is, without trying again", async (t) => {
		const { service, outbound } = await hop(t, RULES);
		const allowed = await ask(await rawClient(t, await outbound("frontend")), "GET /x/../orders/7");
		assert.equal(allowed.status, 200);
		const seen = JSON.parse(allowed.body.toString()) as Echoed;
		assert.deepEqual([seen.url, seen.headers["x-nexus-caller"]], ["/orders/7", "spiffe://mesh.local/frontend"]);
		const refused = await ask(await rawClient(t, await outbound("batch")), "GET /orders/7");
		assert.deepEqual([refused.status, reasonOf(refused)], [403, "unauthorized"]);
		assert.equal(JSON.parse(refused.body.toString()).detail, "the caller is spiffe://mesh.local/batch");
		assert.equal(await service.sidecar.metric("nexus_authorization_requests_total", { rule: "", result: "denied" }), 1);
	});

	it("carries a WebSocket until a policy of the service withdraws the right, then cuts it", async (t) => {
		const { service, outbound } = await hop(t, RULES, undefined, (server) => {
			new WebSocketServer({ server }).on("connection", (socket) => socket.on("message", (data: Buffer) => socket.send(data.toString())));
		});
		const socket = new WebSocket(`ws://127.0.0.1:${await outbound("frontend")}/orders/live`, { headers: { host: "payments" } });
		t.after(() => socket.terminate());
		const { promise: closed, resolve: close } = Promise.withResolvers<number>();
		socket.on("close", close);
		const { promise: answered, resolve: answer } = Promise.withResolvers<string>();
		socket.on("message", (data: Buffer) => answer(data.toString()));
		socket.on("open", () => socket.send("hello"));
		assert.equal(await answered, "hello");
		await service.reload(RULES.replace("frontend", "backend"));
		assert.equal(await closed, 1006, "cut, not closed");
	});
});
