/** `nexus mtls status`: when strict is safe, how it looks, what it says of sidecars that cannot be asked. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { judgeStrict, type MtlsState } from "../../src/cli/mtls-state.ts";
import { runMtlsStatus } from "../../src/cli/mtls-status.ts";
import { mtlsText } from "../../src/cli/mtls-view.ts";
import { captureIo } from "./capture-io.ts";

const NOW = Date.UTC(2026, 5, 1, 12);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const ago = (ms: number): string => new Date(NOW - ms).toISOString();
const NONE = { full: 0, resumed: 0, plaintext: 0, failed: 0 };

type Inbound = NonNullable<MtlsState["inbound"]>;

function state({ inbound, ...rest }: Partial<Omit<MtlsState, "inbound">> & { inbound?: Partial<Inbound> | null } = {}): MtlsState {
	return {
		service: "payments",
		now: ago(0),
		since: ago(30 * HOUR),
		identity: {
			identity: "spiffe://mesh.local/payments",
			source: "files, /etc/nexus/tls.crt",
			state: "valid",
			certificate: { serial: "5f0c9d3ab17722e4019c4d0e8a3b6a51", notAfter: ago(-17 * HOUR) },
		},
		inbound:
			inbound === null
				? null
				: {
						tls: "permissive",
						connections: { ...NONE, full: 9 },
						plaintext: { watchedSince: ago(30 * HOUR), open: 0, last: null, callers: [] },
						...inbound,
					},
		upstreams: [],
		failures: [],
		...rest,
	};
}

function plaintext(changes: Partial<Inbound["plaintext"]>): Inbound["plaintext"] {
	return { watchedSince: ago(30 * HOUR), open: 0, last: null, callers: [], ...changes };
}

test("strict is safe once callers came over TLS and none in plain text for an hour", () => {
	const verdicts: [Partial<Inbound> | null, string | undefined, RegExp][] = [
		[null, undefined, /^$/],
		[{ tls: "strict" }, "on", /only callers with a certificate/],
		[{ tls: "strict", plaintext: plaintext({ open: 2 }) }, "on", /2 connections in plain text are open from before/],
		[{ tls: "off" }, "off", /not counted/],
		[{}, "safe", /for 30 h/],
		[{ plaintext: plaintext({ last: ago(61 * MINUTE) }) }, "safe", /for 61 min/],
		[{ plaintext: plaintext({ last: ago(59 * MINUTE) }) }, "not_yet", /59 min ago/],
		// A connection in plain text may live for days.
		[{ plaintext: plaintext({ open: 1, last: ago(20 * HOUR) }) }, "not_yet", /1 connection in plain text is open/],
		[{ connections: NONE }, "unknown", /nobody has called over TLS/],
		[{ plaintext: plaintext({ watchedSince: ago(5 * MINUTE) }) }, "unknown", /for 5 min; look again/],
		// Before the policy that runs now, the port may have been closed to it.
		[{ plaintext: plaintext({ watchedSince: ago(5 * MINUTE), last: ago(10 * HOUR) }) }, "unknown", /for 5 min; look again/],
	];
	for (const [inbound, verdict, why] of verdicts) {
		const judged = judgeStrict(state({ inbound }));
		assert.equal(judged?.verdict, verdict, judged?.why ?? "");
		assert.match(judged?.why ?? "", why);
	}
});

const FAILURE: MtlsState["failures"][number] = {
	kind: "connection",
	name: "search",
	reason: "tls_san_mismatch",
	words: "the peer is spiffe://mesh.local/ledger, and spiffe://mesh.local/search was meant",
	hint: "The detail names both identities; do the endpoints of the upstream belong to that service?",
	peer: "spiffe://mesh.local/ledger",
	address: "10.0.0.12:15006",
	count: 41,
	last: ago(3000),
};

const CALLER = { address: "10.0.0.7", count: 340, first: ago(3 * HOUR), last: ago(3000) };

test("a table fits 80 columns, and below it stands what there is to do", () => {
	const text = mtlsText(
		[
			{ url: "http://127.0.0.1:15000", answer: state() },
			{
				url: "http://127.0.0.1:15010",
				answer: state({
					service: "checkout",
					inbound: {
						connections: { ...NONE, full: 300, plaintext: 340, failed: 2 },
						plaintext: plaintext({ open: 2, last: ago(3000), callers: [CALLER] }),
					},
					failures: [FAILURE, { ...FAILURE, kind: "cut", name: "", reason: "tls_cert_revoked", address: "", words: "it is on the deny list" }],
				}),
			},
			{ url: "http://127.0.0.1:15020", answer: state({ service: "old", identity: null, inbound: { tls: "off", connections: NONE } }) },
			{ url: "http://127.0.0.1:15030", answer: "it does not answer: connect ECONNREFUSED 127.0.0.1:15030" },
		],
		{ colour: false, columns: 80 },
	);
	const expected = `identity             serial     valid  source  inbound     plain  failed
mesh.local/payments  5f0c9d3a…  17 h   files   permissive  0 %    0
mesh.local/payments  5f0c9d3a…  17 h   files   permissive  53 %   2
old                  -          -      none    off         -      0

payments http://127.0.0.1:15000
  strict is safe: no caller in plain text for 30 h

checkout http://127.0.0.1:15010
  strict is not safe yet: 2 connections in plain text are open
    10.0.0.7: 340 in plain text, first 3 h ago, last 3 s ago
  search: tls_san_mismatch x41, to spiffe://mesh.local/ledger at
  10.0.0.12:15006, 3 s ago
    The peer is spiffe://mesh.local/ledger, and spiffe://mesh.local/search was
    meant.
    The detail names both identities; do the endpoints of the upstream belong to
    that service?
  cut: tls_cert_revoked x41, spiffe://mesh.local/ledger, 3 s ago
    It is on the deny list.
    The detail names both identities; do the endpoints of the upstream belong to
    that service?

old http://127.0.0.1:15020
  it has no identity: its connections are not encrypted

http://127.0.0.1:15030
  it does not answer: connect ECONNREFUSED 127.0.0.1:15030
`;
	assert.equal(text, expected);
});

test("a wide terminal gets whole serials, a narrow one the end of long identities", () => {
	const long = state({
		identity: { ...state().identity, identity: `spiffe://a-long-name.example.org/${"team/".repeat(6)}payments` } as MtlsState["identity"],
	});
	const line = (columns: number): string => mtlsText([{ url: "http://a", answer: long }], { colour: false, columns }).split("\n")[1] ?? "";
	assert.match(line(200), /^a-long-name\.example\.org\/team.*payments {2}5f0c9d3ab17722e4019c4d0e8a3b6a51 /);
	const narrow = line(80);
	assert.ok(narrow.length <= 80, narrow);
	assert.match(narrow, /^….*team\/payments {2}5f0c9d3a… /);
});

test("a certificate that has ended or never came, and why, is plain to see", () => {
	const fault = { reason: "authority_unreachable", words: "Nexus does not answer" };
	const answers = (["expired", "waiting"] as const).map((kind) => {
		const certificate = kind === "expired" ? { serial: "07", notAfter: ago(3 * MINUTE) } : undefined;
		return {
			url: "http://a",
			answer: state({ identity: { ...state().identity, state: kind, certificate, lastError: fault } as MtlsState["identity"] }),
		};
	});
	const text = mtlsText(answers, { colour: false, columns: 80 });
	assert.match(text, /payments +07 +ended 3 min ago /);
	assert.match(text, /payments +- +waiting /);
	assert.match(text, /certificate: Nexus does not answer \(authority_unreachable\)/);
});

test("what a peer has sent can move no cursor", () => {
	const failures = [{ ...FAILURE, words: "\x1b[2Jcleared\u202e" }];
	assert.doesNotMatch(mtlsText([{ url: "http://a\x1b[1m", answer: state({ failures }) }], { colour: false, columns: 80 }), /[\x1b\u202e]/);
});

test("at most five failures and callers are shown, and how many more there are", () => {
	const callers = Array.from({ length: 8 }, (_, i) => ({ ...CALLER, address: `10.0.0.${i}` }));
	const failures = Array.from({ length: 7 }, () => FAILURE);
	const text = mtlsText([{ url: "http://a", answer: state({ inbound: { plaintext: plaintext({ last: ago(1), callers }) }, failures }) }], {
		colour: false,
		columns: 80,
	});
	assert.match(text, /3 further callers \(see --json\)/);
	assert.match(text, /2 further failures \(see --json\)/);
});

async function answering(t: TestContext, status: number, body: string): Promise<string> {
	const server = createServer((_, res) => void res.writeHead(status).end(body)).listen(0, "127.0.0.1");
	t.after(() => void server.close());
	await new Promise((resolve) => server.once("listening", resolve));
	return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("what is no sidecar is told apart from one that does not answer; the exit code is 1", async (t) => {
	const cases: [string, RegExp][] = [
		[await answering(t, 404, "{}"), /has no \/identity/],
		[await answering(t, 500, "{}"), /status 500/],
		[await answering(t, 200, "<html>"), /not JSON/],
		[await answering(t, 200, JSON.stringify({ ...state(), now: 7 })), /not the answer of a sidecar: now: /],
		["ftp://127.0.0.1", /not an http URL/],
	];
	for (const [url, words] of cases) {
		const io = captureIo();
		assert.equal(await runMtlsStatus({ urls: [url] }, io), 1);
		assert.match((JSON.parse(io.out()) as { error: string }).error, words);
		assert.match(io.err(), words);
	}
	const good = captureIo({ isTTY: true });
	assert.equal(await runMtlsStatus({ urls: [await answering(t, 200, JSON.stringify(state()))] }, good), 0);
	assert.match(good.out(), /strict is safe/);
});
