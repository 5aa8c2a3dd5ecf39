/** The memory of the loop under streams over TLS, which copy what they encrypt, and tell only later that it is written. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { acceptance, tlsClient } from "./tls-support.ts";

describe("the memory of an event loop, written to TLS", { timeout: 20_000 }, () => {
	it("is used again at once: what was written is encrypted already", async (t) => {
		const end = await acceptance(t);
		const [one, two] = [await tlsClient(t, end.port), await tlsClient(t, end.port)];
		const { socket } = (await end.ready()).stream;
		const { socket: other } = (await end.ready()).stream;
		const first = end.shared.room(socket, 60_000).fill("a");
		end.shared.write(socket, first);
		assert.ok(socket.writableLength > 0);
		const second = end.shared.room(other, 60_000);
		assert.equal(second.buffer, first.buffer);
		second.fill("b");
		end.shared.write(other, second);
		const [of, ofOther] = other.remotePort === two.tls.localPort ? [one, two] : [two, one];
		await of.until("all of it", () => of.bytes === 60_000);
		await ofOther.until("all of it", () => ofOther.bytes === 60_000);
		assert.equal(of.text, "a".repeat(60_000));
		assert.equal(ofOther.text, "b".repeat(60_000));
	});

	it("belongs to the stream where it waits behind another write: every byte arrives as it was composed", async (t) => {
		const end = await acceptance(t);
		const client = await tlsClient(t, end.port);
		const { socket } = (await end.ready()).stream;
		const body = end.shared.room(socket, 60_000).fill("a");
		socket.write("head|", "latin1");
		end.shared.write(socket, body);
		await tlsClient(t, end.port);
		const { socket: other } = (await end.ready()).stream;
		const again = end.shared.room(other, 60_000);
		assert.notEqual(again.buffer, body.buffer);
		again.fill("b");
		await client.until("all of it", () => client.bytes === 60_005);
		assert.equal(client.text, `head|${"a".repeat(60_000)}`);
	});

	it("lets a stream that lags behind keep memory of its own", async (t) => {
		const end = await acceptance(t);
		const client = await tlsClient(t, end.port);
		const { socket } = (await end.ready()).stream;
		let text = "";
		for (const letter of "abcdef") {
			const part = end.shared.room(socket, 30_000).fill(letter);
			end.shared.write(socket, part);
			text += letter.repeat(30_000);
		}
		await client.until("all of it", () => client.bytes === text.length);
		assert.equal(client.text, text);
	});
});
