/** Join tokens as text and back, with every damage, and that nothing shows their secret. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { createJoinToken, isSameSecretHash, type JoinToken, readJoinToken } from "../../src/identity/join-token.ts";

const ROOT = "ab".repeat(32);

function read(text: string): JoinToken {
	const reading = readJoinToken(text);
	assert.ok(reading.ok, reading.ok ? "" : reading.fault);
	return reading.token;
}

function textOf(content: unknown): string {
	return `nxj_${Buffer.from(JSON.stringify(content)).toString("base64url")}`;
}

test("a token that was made is read back, with white space around it", () => {
	const made = createJoinToken({ service: "payments", root: ROOT });
	const token = read(`  ${made.text()}\n`);
	assert.deepEqual([token.service, token.id, token.root], ["payments", made.id, ROOT]);
	assert.equal(token.text(), made.text());
	assert.ok(isSameSecretHash(token.secretHash(), made.secretHash()));
});

test("two tokens of one service have nothing in common but the service", () => {
	const [a, b] = [createJoinToken({ service: "payments", root: ROOT }), createJoinToken({ service: "payments", root: ROOT })];
	assert.notEqual(a.id, b.id);
	assert.ok(!isSameSecretHash(a.secretHash(), b.secretHash()));
});

test("a damaged token is refused with words that do not quote it", () => {
	const content = { service: "payments", id: "0123456789abcdef", secret: "A".repeat(43), root: ROOT };
	assert.ok(readJoinToken(textOf(content)).ok);
	const damaged = [
		"",
		"nxj_",
		"nxt_abc",
		"nxj_%%%",
		"nxj_AAAA",
		`nxj_${"A".repeat(5000)}`,
		createJoinToken({ service: "payments", root: ROOT }).text().slice(0, -3),
		textOf(null),
		textOf([content]),
		textOf({ ...content, more: 1 }),
		textOf({ ...content, service: "../nexus" }),
		textOf({ ...content, service: "" }),
		textOf({ ...content, service: 7 }),
		textOf({ ...content, id: "0123" }),
		textOf({ ...content, secret: "A".repeat(42) }),
		textOf({ ...content, secret: `${"A".repeat(42)}B` }),
		textOf({ ...content, root: ROOT.toUpperCase() }),
	];
	for (const text of damaged) {
		const reading = readJoinToken(text);
		assert.ok(!reading.ok, text);
		assert.ok(text.length < 6 || !reading.fault.includes(text.slice(4)), text);
	}
});

test("printing a token shows no secret", () => {
	const token = createJoinToken({ service: "payments", root: ROOT });
	const { secret } = JSON.parse(Buffer.from(token.text().slice(4), "base64url").toString()) as { secret: string };
	const hex = Buffer.from(secret, "base64url").toString("hex");
	const shown = `${inspect(token, { showHidden: true, depth: 9 })} ${inspect({ token })} ${JSON.stringify(token)} ${String(token)}`;
	for (const part of [secret, hex, token.text().slice(4)]) assert.ok(!shown.includes(part));
});

test("hashes that are none are the same as nothing", () => {
	assert.ok(!isSameSecretHash("", ""));
	assert.ok(!isSameSecretHash("zz", "zz"));
	assert.ok(!isSameSecretHash(ROOT, ""));
});
