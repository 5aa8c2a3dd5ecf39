/** Contexts: what cannot be used is told without showing a key, and nothing prints one. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inspect } from "node:util";
import { makeSecureContext, SecureContexts } from "../../src/net/secure-contexts.ts";
import { alpnList } from "../../src/net/tls-peer.ts";
import { contextOf, mesh } from "./tls-support.ts";

describe("a secure context", () => {
	it("is refused for PEM that cannot be read, or a key of somebody else, without showing the key", async () => {
		const { server, client } = await mesh();
		const secret = server.key.split("\n")[1] ?? "";
		for (const [certificate, key] of [
			["no PEM", server.key],
			[server.certificate, "no PEM"],
			[server.certificate, server.key.replaceAll("M", "N")],
			[client.certificate, server.key],
			[server.certificate, ""],
		] as const) {
			const made = makeSecureContext({ certificate, key, trust: "own" });
			assert.equal(made.ok, false, `${certificate.slice(0, 20)} ${key.slice(0, 20)}`);
			assert.ok(!made.ok && made.fault.length > 0 && !made.fault.includes(secret));
		}
	});

	it("is refused for key exchange groups that do not exist", async () => {
		const { server } = await mesh();
		assert.equal(makeSecureContext({ certificate: server.certificate, key: server.key, trust: "own", groups: "P-17" }).ok, false);
	});

	it("prints nothing of the key", async () => {
		const { server } = await mesh();
		const contexts = new SecureContexts(contextOf(server));
		const secret = server.key.split("\n")[1] ?? "";
		assert.ok(secret.length > 20);
		assert.ok(!inspect(contexts, { depth: 20, showHidden: true }).includes(secret));
	});

	it("is swapped as a whole, and the swaps are counted", async () => {
		const { server, client } = await mesh();
		const [one, two] = [contextOf(server), contextOf(client)];
		const contexts = new SecureContexts(one);
		assert.deepEqual([contexts.current === one, contexts.generation], [true, 0]);
		contexts.swap(two);
		assert.deepEqual([contexts.current === two, contexts.generation], [true, 1]);
	});
});

describe("an ALPN list", () => {
	it("puts each name behind its length", () => {
		assert.deepEqual([...alpnList(["h2", "x"])], [2, 0x68, 0x32, 1, 0x78]);
		assert.equal(alpnList([]).length, 0);
	});

	it("refuses names that do not fit", () => {
		assert.throws(() => alpnList([""]), RangeError);
		assert.throws(() => alpnList(["x".repeat(256)]), RangeError);
	});
});
