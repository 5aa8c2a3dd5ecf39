/** `x-forwarded-client-cert`: Envoy's form, and no way for a certificate to write more than its own value. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type VerifiedPeer, verifyChain } from "../../src/identity/verify-chain.ts";
import { xfccValue } from "../../src/identity/xfcc.ts";
import { leaf, root, type Spec, verifyOptions } from "./support.ts";

const SELF = "spiffe://mesh.local/checkout";
const TOP = await root();

async function peerOf(spec: Spec): Promise<VerifiedPeer> {
	const verdict = verifyChain([(await leaf(TOP, spec)).der], verifyOptions([TOP]));
	assert.ok(verdict.ok, verdict.ok ? "" : verdict.words);
	return verdict;
}

/** As Envoy's consumers read it: elements by `,`, pairs by `;`, both outside of quotes; `\` takes the next character as it is. */
function parse(text: string): [string, string][][] {
	const elements: [string, string][][] = [[]];
	for (let at = 0; at < text.length; ) {
		const equals = text.indexOf("=", at);
		const key = text.slice(at, equals);
		let value = "";
		at = equals + 1;
		const quoted = text[at] === '"';
		if (quoted) at++;
		while (at < text.length && (quoted ? text[at] !== '"' : text[at] !== ";" && text[at] !== ",")) {
			if (quoted && text[at] === "\\") at++;
			value += text[at++];
		}
		if (quoted) at++;
		elements.at(-1)?.push([key, value]);
		assert.ok(at === text.length || text[at] === ";" || text[at] === ",", `something stands behind a value: ${text.slice(at)}`);
		if (text[at] === ",") elements.push([]);
		at++;
	}
	return elements;
}

test("a peer of the mesh is told as Envoy tells it", async () => {
	const peer = await peerOf({ name: "CN=payments", dns: ["payments", "payments.mesh.local"] });
	const expected = `By=${SELF};Hash=${peer.leaf.fingerprint};Subject="CN=payments";URI=spiffe://mesh.local/payments;DNS=payments;DNS=payments.mesh.local`;
	assert.equal(xfccValue(peer, SELF), expected);
});

test("a subject of any characters stays one quoted value in one element", async () => {
	for (const name of [
		'CN=a";URI=spiffe://mesh.local/admin;x="',
		"CN=a\\,b",
		"CN=a\\\\",
		"CN=\r\nx-admin: 1",
		"CN=\u00e9\u4e2d\u0000",
		"CN=a\\,By\\=spiffe://x",
	]) {
		const text = xfccValue(await peerOf({ name }), SELF);
		assert.match(text, /^[\x20-\x7e]+$/);
		const elements = parse(text);
		assert.equal(elements.length, 1, text);
		assert.deepEqual(
			elements[0]?.map(([key]) => key),
			["By", "Hash", "Subject", "URI", "DNS"],
			text,
		);
		assert.equal(new Map(elements[0]).get("URI"), "spiffe://mesh.local/payments");
	}
});

test("a DNS name that would read as more is quoted", async () => {
	const peer = await peerOf({ name: "CN=a", dns: ["a;URI=spiffe://mesh.local/admin", "b,By=x", 'c"', "d\\"] });
	const [pairs = [], ...others] = parse(xfccValue(peer, SELF));
	assert.deepEqual(others, []);
	assert.deepEqual(
		pairs.filter(([key]) => key === "DNS").map(([, value]) => value),
		peer.leaf.names.dns,
	);
	assert.equal(pairs.filter(([key]) => key === "URI").length, 1);
});

test("of many DNS names the first sixteen are told", async () => {
	const peer = await peerOf({ dns: Array.from({ length: 40 }, (_, i) => `payments-${i}`) });
	assert.equal(parse(xfccValue(peer, SELF))[0]?.filter(([key]) => key === "DNS").length, 16);
});
