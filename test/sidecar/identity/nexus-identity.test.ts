/** Identity from the authority of Nexus: joining, renewing, following the bundle, and whatever goes wrong meanwhile. Real TLS on loopback. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { inspect } from "node:util";
import type { Clock } from "../../../src/core/clock.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { seededRng } from "../../../src/core/rng.ts";
import { privateKeyPem } from "../../../src/identity/certificate-request.ts";
import { createIntermediateAuthority } from "../../../src/identity/issue.ts";
import { createJoinToken, type JoinToken } from "../../../src/identity/join-token.ts";
import { chainPem } from "../../../src/identity/keyed-chain.ts";
import { rootsPem } from "../../../src/identity/trust-bundle.ts";
import { IdentityKeeper } from "../../../src/sidecar/identity/identity-keeper.ts";
import type { MeshIdentity } from "../../../src/sidecar/identity/mesh-identity.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { json, SmallAuthority } from "./small-authority.ts";
import { createAuthority, eventually, HOUR, isKeyOf, issueFor, surroundings, TRUST_DOMAIN, temporaryDirectory } from "./support.ts";

interface SetUpOptions {
	readonly url: string;
	readonly token?: JoinToken;
	readonly cacheDir?: string;
	readonly clock?: Clock;
}

async function setUp(t: TestContext, { url, token, cacheDir, clock = systemClock }: SetUpOptions) {
	const directory = await temporaryDirectory(t);
	const tokenFile = join(directory, "join.token");
	if (token !== undefined) await writeToken(tokenFile, token);
	const around = surroundings(clock);
	const keeper = new IdentityKeeper({
		policy: { place: { file: "mesh.yaml", line: 1, column: 1 }, kind: "nexus", tokenFile, cacheDir },
		service: "payments",
		trustDomain: TRUST_DOMAIN,
		nexusUrl: url,
		clock,
		rng: seededRng(7),
		log: around.log,
		feed: around.feed,
		onCut: () => {},
	});
	t.after(() => keeper.stop());
	return { keeper, tokenFile, directory, ...around };
}

async function writeToken(path: string, token: JoinToken): Promise<void> {
	await writeFile(path, `${token.text()}\n`, { mode: 0o600 });
}

/** Lets time pass until a renewal begins, and no further: what is on the wire has the time of the machine. */
function untilRenewing(keeper: IdentityKeeper, clock: FakeClock): void {
	for (let passed = 0; keeper.status().certificate?.rotation !== "renewing"; passed++) {
		assert.ok(passed < 3_600, "within an hour");
		clock.advance(1_000);
	}
}

function serialOf(identity: MeshIdentity): string {
	return identity.keyed.chain[0]?.serial ?? "";
}

test("a sidecar with nothing but a join token gets its certificate, with a key of its own, and follows the trust bundle", async (t) => {
	const nexus = await SmallAuthority.start(t, await createAuthority());
	const { keeper } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments") });
	const identity = await keeper.start();
	assert.equal(identity.self.uri, "spiffe://mesh.local/payments");
	assert.ok(isKeyOf(identity.keyed.key, identity.keyed));
	assert.deepEqual(keeper.notReady(), []);
	await eventually(() => nexus.asked.some(({ path, by }) => path === "/v1/trust-bundle?after=1&wait=30s" && by === identity.self.uri), "it polls");
	nexus.change({ deniedIdentities: ["spiffe://mesh.local/mallory"] });
	await eventually(() => identity.bundle.isDeniedIdentity("spiffe://mesh.local/mallory"), "the deny list arrives");
	await eventually(() => nexus.asked.some(({ path }) => path === "/v1/trust-bundle?after=2&wait=30s"), "it says which version it has");
	const { certificate, bundle, state } = keeper.status();
	assert.equal(state, "valid");
	assert.equal(certificate?.serial, serialOf(identity));
	assert.equal(bundle?.version, 2);
	assert.equal(bundle?.deniedIdentities, 1);
});

test("a token of which something is wrong is named in words, and replaced while the sidecar runs", async (t) => {
	const authority = await createAuthority();
	const clock = new FakeClock(Date.now());
	const nexus = await SmallAuthority.start(t, authority);
	const { keeper, tokenFile, lines } = await setUp(t, { url: nexus.url, clock });
	const started = keeper.start();
	const says = (words: RegExp) =>
		eventually(() => {
			clock.advance(100);
			return words.test(keeper.notReady().join());
		}, `notReady says ${words}`);
	await says(/no identity yet: the join token cannot be read: .*ENOENT.*`nexus token create --service payments` makes one/);
	await writeFile(tokenFile, "hunter2");
	await says(/holds no join token: a join token begins with nxj_/);
	await writeToken(tokenFile, nexus.createToken("search"));
	await says(/is for search, and this service is payments/);
	assert.equal(nexus.asked.length, 0, "none of these needs to be shown to anybody");
	const unknown = createJoinToken({ service: "payments", root: authority.root.certificate.fingerprint });
	await writeToken(tokenFile, unknown);
	await says(/Nexus does not take the join token: no such token \(.*join\.token, id [0-9a-f]{16}\)/);
	await writeToken(tokenFile, nexus.createToken("payments", 0));
	await says(/does not take the join token: the token is used up/);
	await writeToken(tokenFile, nexus.createToken("payments"));
	await eventually(() => {
		clock.advance(100);
		return keeper.notReady().length === 0;
	}, "a good one is taken");
	await started;
	assert.ok(lines.filter(({ level }) => level === "warn").every(({ fields }) => fields.reason === "token_refused"));
	const told = inspect(lines) + inspect(keeper, { depth: 9, showHidden: true });
	assert.ok(!told.includes("hunter2") && !told.includes("nxj_e"), "no token is told");
});

test("whoever answers in Nexus' place is not given the token: another authority, another service, plain text, nobody", async (t) => {
	const [authority, others] = [await createAuthority(), await createAuthority()];
	const token = createJoinToken({ service: "payments", root: authority.root.certificate.fingerprint });
	const attempt = async (url: string, words: RegExp): Promise<void> => {
		const { keeper } = await setUp(t, { url, token });
		void keeper.start();
		await eventually(() => words.test(keeper.notReady().join()), `${words}, not ${keeper.notReady()}`);
		keeper.stop();
	};
	const impostor = await SmallAuthority.start(t, others);
	await attempt(impostor.url, /is not to be trusted: the authority is not the one that the join token names .*tls_unknown_ca/);
	const service = await SmallAuthority.start(t, authority, "search");
	await attempt(service.url, /is not to be trusted: the peer is spiffe:\/\/mesh\.local\/search, not spiffe:\/\/mesh\.local\/nexus/);
	assert.deepEqual([...impostor.asked, ...service.asked], []);
	await service.stop();
	await attempt(service.url, /cannot be reached: .*ECONNREFUSED/);
});

test("answers that are none are refused, one after the other, until a good one comes", async (t) => {
	const authority = await createAuthority();
	const nexus = await SmallAuthority.start(t, authority);
	const others = await createAuthority();
	const [stolen, ours] = [await issueFor("payments", authority), await issueFor("search", authority)];
	const strange = await issueFor("payments", others);
	const bundle = nexus.bundle;
	const answers: readonly [RegExp, (res: ServerResponse) => void][] = [
		[/no certificate: not for you/, (res) => json(res, 403, { detail: "not for you" })],
		[/has no `authority`/, (res) => json(res, 503, { reason: "no_authority" })],
		[/status 418/, (res) => json(res, 418, {})],
		[/has not the form of one/, (res) => res.writeHead(201).end("<html>")],
		[/has not the form of one/, (res) => json(res, 201, { bundle })],
		[/does not belong to the first certificate/, (res) => json(res, 201, { certificate: chainPem(stolen.chain), bundle })],
		[/a block of CERTIFICATE has no end/, (res) => json(res, 201, { certificate: chainPem(ours.chain).slice(0, 500), bundle })],
		[
			/trusts? .*names no trust domain|names no trust domain/,
			(res) => json(res, 201, { certificate: chainPem(strange.chain), bundle: { version: 1, trustDomains: {} } }),
		],
		[/has more than 4194304 bytes/, (res) => res.writeHead(201).end(Buffer.alloc(5 * 1024 * 1024, "x"))],
		[/cannot be reached: /, (res) => res.destroy()],
		[/cannot be reached: /, (res) => res.writeHead(201, { "content-length": "500" }).write("{") && setTimeout(() => res.destroy(), 5)],
	];
	let at = -1;
	nexus.misbehave = (_req, res) => {
		const answer = answers[Math.max(at, 0)];
		if (at >= answers.length || answer === undefined) return false;
		answer[1](res);
		return true;
	};
	// The retries' pauses pass as fast as the test asks for them.
	const clock = new FakeClock(Date.now());
	const { keeper, lines } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments"), clock });
	const started = keeper.start();
	for (const [words] of answers) {
		at++;
		const seen = lines.length;
		await eventually(() => {
			clock.advance(100);
			return words.test(keeper.notReady().join()) || lines.slice(seen).some(({ message }) => words.test(message));
		}, `${words}`);
	}
	at++;
	await eventually(() => {
		clock.advance(100);
		return keeper.notReady().length === 0;
	}, "the good answer is taken");
	assert.ok(await started);
});

test("an answer that never ends is given up after 15 seconds", async (t) => {
	const nexus = await SmallAuthority.start(t, await createAuthority());
	nexus.misbehave = (_req, res) => res.writeHead(201).write("{") || true;
	const clock = new FakeClock(Date.now());
	const { keeper } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments"), clock });
	void keeper.start();
	await eventually(() => nexus.asked.length === 1, "it asks");
	clock.advance(15_000);
	await eventually(() => /no answer within 15000 ms/.test(keeper.notReady().join()), "it gives up");
});

test("a certificate is renewed in time, by itself alone, with another key; what stands goes on", async (t) => {
	const nexus = await SmallAuthority.start(t, await createAuthority());
	const clock = new FakeClock(Date.now());
	nexus.now = () => clock.wallMs();
	const { keeper, tokenFile, events } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments"), clock });
	const identity = await keeper.start();
	const [first, firstKey] = [serialOf(identity), identity.keyed.key];
	const contexts = identity.client;
	const { generation } = contexts;
	await writeFile(tokenFile, "gone");
	clock.advance(0.64 * HOUR);
	assert.equal(nexus.issued.length, 1);
	untilRenewing(keeper, clock);
	await eventually(() => serialOf(identity) !== first, "it is renewed");
	assert.equal(nexus.issued.length, 2);
	const renewal = nexus.asked.filter(({ path }) => path === "/v1/certificates")[1];
	assert.deepEqual([renewal?.by, renewal?.serial, renewal?.token], [identity.self.uri, first, ""]);
	assert.ok(!identity.keyed.key.equals(firstKey));
	assert.ok(isKeyOf(identity.keyed.key, identity.keyed));
	assert.equal(contexts.generation, generation + 1);
	await eventually(() => {
		clock.advance(100);
		return nexus.asked.some(({ path, serial }) => path.startsWith("/v1/trust") && serial === serialOf(identity));
	}, "Nexus sees it in use");
	const rotated = events.filter(({ type }) => type === "nexus.mesh.certificate.rotated");
	assert.equal(rotated.length, 1);
	assert.partialDeepStrictEqual(rotated[0]?.data, { oldSerial: first, newSerial: serialOf(identity) });
	assert.deepEqual(keeper.status().renewals, { renewed: 1, failed: 0 });
});

test("while Nexus is away the certificate is kept to its end, with warnings; when it is back a token helps on", async (t) => {
	const nexus = await SmallAuthority.start(t, await createAuthority());
	const clock = new FakeClock(Date.now());
	nexus.now = () => clock.wallMs();
	const { keeper, lines, events } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments", 9), clock });
	const identity = await keeper.start();
	const first = serialOf(identity);
	await nexus.stop();
	/** In steps, so that each try on the wire has its answer before time goes on. */
	const pass = async (ms: number): Promise<void> => {
		for (let passed = 0; passed < ms; passed += 30_000) {
			clock.advance(30_000);
			await new Promise((resolve) => setImmediate(resolve));
		}
	};
	await pass(0.79 * HOUR);
	await eventually(() => keeper.status().renewals.failed > 0, "a renewal has failed");
	const warnings = () =>
		events.filter(({ type }) => type === "nexus.mesh.certificate.expiring").map(({ data }) => data as { expired: boolean; lastError: string });
	assert.equal(warnings().length, 0);
	await pass(0.02 * HOUR);
	assert.equal(warnings().length, 1);
	assert.match(warnings()[0]?.lastError ?? "", /Nexus at https:\/\/127\.0\.0\.1:\d+ cannot be reached: /);
	await pass(0.15 * HOUR);
	assert.equal(warnings().length, 2);
	assert.equal(serialOf(identity), first);
	assert.deepEqual(keeper.notReady(), []);
	await pass(0.05 * HOUR);
	assert.deepEqual(
		warnings().map(({ expired }) => expired),
		[false, false, true],
	);
	assert.match(keeper.notReady().join(), /the certificate ended at \d{4}-.*: Nexus at .* cannot be reached/);
	assert.equal(keeper.status().state, "expired");
	assert.ok(lines.some(({ level, fields }) => level === "error" && fields.reason === "tls_cert_expired"));
	await nexus.listen();
	await eventually(() => {
		clock.advance(100);
		return serialOf(identity) !== first;
	}, "the token helps on");
	assert.deepEqual(keeper.notReady(), []);
	assert.ok(lines.some(({ message }) => message === "the source of the identity works again"));
});

test("when another intermediate issues, the certificate is replaced soon, once, and Nexus sees the new one", async (t) => {
	const authority = await createAuthority();
	const nexus = await SmallAuthority.start(t, authority);
	const clock = new FakeClock(Date.now());
	const { keeper } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments"), clock });
	const identity = await keeper.start();
	const first = serialOf(identity);
	await eventually(() => nexus.asked.length === 2, "it polls");
	const next = await createIntermediateAuthority(authority.root, { trustDomain: TRUST_DOMAIN, lifetimeMs: 24 * HOUR, nowMs: Date.now() });
	nexus.authority = { root: authority.root, issuing: next };
	nexus.change({});
	await eventually(() => identity.bundle.version === 2, "it is told");
	await eventually(() => {
		clock.advance(100);
		return serialOf(identity) !== first;
	}, "it is replaced");
	assert.equal(identity.keyed.chain[1]?.fingerprint, next.certificate.fingerprint);
	await eventually(() => {
		clock.advance(100);
		return nexus.asked.at(-1)?.serial === serialOf(identity);
	}, "Nexus sees it in use");
	assert.equal(nexus.issued.length, 2, "once is enough");
});

test("a root is replaced by an overlap of both, without a moment in which a certificate is not trusted", async (t) => {
	const [authority, next] = [await createAuthority(), await createAuthority()];
	const nexus = await SmallAuthority.start(t, authority);
	nexus.lifetimeMs = 20_000;
	const { keeper, lines } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments") });
	const identity = await keeper.start();
	const first = serialOf(identity);
	const both = { [TRUST_DOMAIN]: rootsPem([authority.root.certificate, next.root.certificate]) };
	await eventually(() => nexus.asked.length === 2, "it polls");
	nexus.change({ trustDomains: both });
	await eventually(() => nexus.asked.some(({ path }) => path.includes("after=2")), "it has both roots");
	await nexus.issueBy(next);
	nexus.change({});
	await eventually(() => serialOf(identity) !== first, "it has a certificate under the new root");
	nexus.change({ trustDomains: { [TRUST_DOMAIN]: rootsPem([next.root.certificate]) } });
	await eventually(() => nexus.asked.some(({ path }) => path.includes("after=4")), "it has the new root alone");
	assert.deepEqual(
		lines.filter(({ level }) => level === "warn" || level === "error").filter(({ message }) => !message.includes("Nexus at")),
		[],
	);
	assert.deepEqual(keeper.notReady(), []);
});

test("a Nexus set up anew is believed again once somebody puts a new token there, and its bundle counts whatever its version", async (t) => {
	const [authority, next] = [await createAuthority(), await createAuthority()];
	const nexus = await SmallAuthority.start(t, authority);
	nexus.change({ version: 7 });
	const { keeper, tokenFile } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments") });
	const identity = await keeper.start();
	const first = serialOf(identity);
	await nexus.stop();
	nexus.authority = next;
	nexus.bundle = { version: 1, trustDomains: { [TRUST_DOMAIN]: rootsPem([next.root.certificate]) } };
	await nexus.listen();
	await eventually(() => keeper.status().lastError?.reason === "authority_untrusted", "it is not believed");
	assert.equal(serialOf(identity), first);
	await writeToken(tokenFile, nexus.createToken("payments"));
	await eventually(() => serialOf(identity) !== first, "it is believed");
	assert.equal(identity.bundle.version, 1);
});

test("a wall clock that jumps ahead makes the certificate due at once, and one that has ended is replaced by the token", async (t) => {
	const nexus = await SmallAuthority.start(t, await createAuthority());
	const clock = new FakeClock(Date.now());
	nexus.now = () => clock.wallMs();
	const { keeper } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments", 2), clock });
	const identity = await keeper.start();
	const first = serialOf(identity);
	clock.jumpWall(2 * HOUR);
	untilRenewing(keeper, clock);
	await eventually(() => serialOf(identity) !== first, "it is replaced");
	assert.equal(nexus.asked.filter(({ token }) => token !== "").length, 2);
	const second = serialOf(identity);
	clock.jumpWall(-2 * HOUR);
	for (let passed = 0; passed < 60_000; passed += 1_000) clock.advance(1_000);
	assert.equal(serialOf(identity), second, "a clock set back renews nothing");
});

test("no key is shown by anything that is printed", async (t) => {
	const nexus = await SmallAuthority.start(t, await createAuthority());
	const token = nexus.createToken("payments");
	const { keeper, lines, events } = await setUp(t, { url: nexus.url, token });
	const identity = await keeper.start();
	const secrets = [privateKeyPem(identity.keyed.key).split("\n")[1] ?? "", token.text()];
	const printed = [keeper, identity, identity.keyed, identity.client, lines, events].map((thing) => inspect(thing, { depth: 20, showHidden: true }));
	const all = `${printed.join("\n")}${JSON.stringify([keeper.status(), lines, events, identity])}`;
	for (const secret of secrets) {
		assert.ok(secret.length > 30);
		assert.ok(!all.includes(secret));
	}
});

test("a start takes what was kept while it is valid, else joins anew, and believes the bundle that was kept", async (t) => {
	const nexus = await SmallAuthority.start(t, await createAuthority());
	const clock = new FakeClock(Date.now());
	nexus.now = () => clock.wallMs();
	const cacheDir = join(await temporaryDirectory(t), "identity");
	const first = await setUp(t, { url: nexus.url, token: nexus.createToken("payments"), cacheDir, clock });
	const serial = serialOf(await first.keeper.start());
	first.keeper.stop();
	await nexus.stop();
	const second = await setUp(t, { url: nexus.url, cacheDir, clock });
	assert.equal(serialOf(await second.keeper.start()), serial, "with neither Nexus nor token");
	second.keeper.stop();
	clock.jumpWall(2 * HOUR);
	await nexus.listen();
	const third = await setUp(t, { url: nexus.url, token: nexus.createToken("payments"), cacheDir, clock });
	assert.notEqual(serialOf(await third.keeper.start()), serial, "it had ended");
	third.keeper.stop();
	const other = await setUp(t, { url: nexus.url, token: nexus.createToken("payments"), clock });
	assert.ok(await other.keeper.start());
});

test("a Nexus that answers polls at once, whatever it is asked, is asked at most ten times a second", async (t) => {
	const nexus = await SmallAuthority.start(t, await createAuthority());
	const clock = new FakeClock(Date.now());
	nexus.misbehave = (req, res) => {
		if (!req.url?.startsWith("/v1/trust-bundle")) return false;
		res.writeHead(204).end();
		return true;
	};
	const { keeper } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments"), clock });
	await keeper.start();
	const polls = () => nexus.asked.filter(({ path }) => path.startsWith("/v1/trust-bundle")).length;
	await eventually(() => polls() === 1, "it polls");
	for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
	assert.equal(polls(), 1);
	await eventually(() => {
		clock.advance(10);
		return polls() === 3;
	}, "it goes on");
});
