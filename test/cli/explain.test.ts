import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type ExplainOptions, runExplain } from "../../src/cli/explain.ts";
import { captureIo } from "./capture-io.ts";

const FOLDER = mkdtempSync(join(tmpdir(), "nexus-explain-"));
after(() => rmSync(FOLDER, { recursive: true }));

const POLICY = `service: a
inbound: { application: "127.0.0.1:3000", trustedProxies: [10.0.0.0/8] }
outbound:
  routes:
    - { name: beta, match: { host: pay, headers: { x-beta: "1" } }, to: beta }
    - { name: pay, match: { host: pay, path: /pay/** }, to: pay, rewrite: { host: "pay:80" } }
    - { name: all, match: { host: pay }, to: beta }
upstreams:
  pay:
    listen: 127.0.0.1:9001
    loadBalancing: weighted
    endpoints: [{ address: h:1, weight: 3, zone: z }, { address: h:2 }]
    healthCheck: { path: /healthz }
  beta: { dns: { name: beta.mesh, type: SRV } }
`;

function policy(name: string, text: string): string {
	const path = join(FOLDER, name);
	writeFileSync(path, text);
	return path;
}
const FILE = policy("p.yaml", POLICY);
const UNROUTED = policy("unrouted.yaml", POLICY.replace(/ {2}routes:.*(?=upstreams:)/s, "  passthrough: true\n"));

async function explain(file: string, options: Partial<ExplainOptions>) {
	const io = captureIo({ isTTY: true });
	const code = await runExplain(file, { method: "GET", url: "http://pay/pay/1", header: [], direction: "outbound", ...options }, io);
	return { code, out: io.out().replaceAll(FOLDER, ""), err: io.err().replaceAll(FOLDER, "") };
}

const flat = (out: string): string[] =>
	out.split("\n").map((line) =>
		line
			.replace(/^[│├└─ ]+/, "")
			.replace(/\s+/g, " ")
			.trim(),
	);

test("the trace names each route with what decided, the rules and the endpoints behind it, each with its line", async () => {
	const { code, out } = await explain(FILE, { header: ["X-Beta: 2"] });
	assert.equal(code, 0);
	const lines = flat(out);
	assert.equal(lines[0], "GET http://pay/pay/1 (outbound)");
	for (const expected of [
		"- arrives at the outbound listener 127.0.0.1:15001 /p.yaml:3:1",
		'no route beta: header x-beta is "2", not "1" /p.yaml:5:7',
		"yes route pay: matches: to pay /p.yaml:6:7",
		"- route all: would match as well, but an earlier route has won /p.yaml:7:7",
		"yes route pay is the first that matches /p.yaml:6:7",
		"- the Host field becomes pay:80 /p.yaml:6:7",
		"h:1 weight 3 zone z share 75.0 %",
		"h:2 weight 1 share 25.0 %",
		"- an endpoint takes part while GET /healthz succeeds, every 5000 ms /p.yaml:13:5",
	]) {
		assert.ok(lines.includes(expected), `${expected}\nis not in\n${lines.join("\n")}`);
	}
	const stages = out.match(/^[├└]─ \w+$/gm)?.map((line) => line.slice(3));
	assert.deepEqual(stages, ["route", "deadline", "breaker", "pick", "retry"]);
});

test("what a fresh picker takes keeps to the weights", async () => {
	const { out } = await explain(FILE, {});
	const picks = /next, from a fresh picker: ((?:h:\d ?)+)/.exec(out)?.[1]?.trim().split(" ") ?? [];
	assert.equal(picks.length, 8);
	assert.equal(picks.filter((pick) => pick === "h:1").length, 6);
});

test("where the request is hashed, its endpoint is told, by header, cookie, path and address", async () => {
	const endpoints = Array.from({ length: 5 }, (_, i) => `{ address: h:${i + 1} }`).join(", ");
	const hashing = (name: string, balancing: string, hashOn: string): string =>
		policy(name, `service: a\noutbound: {}\nupstreams:\n  pay: { loadBalancing: ${balancing}, hashOn: ${hashOn}, endpoints: [${endpoints}] }\n`);
	const goesTo = async (file: string, options: Partial<ExplainOptions>): Promise<string | undefined> =>
		/this request goes to (h:\d)/.exec((await explain(file, options)).out)?.[1];
	for (const balancing of ["ring-hash", "maglev"]) {
		const file = hashing(`${balancing}.yaml`, balancing, "header:x-user");
		const users = await Promise.all(Array.from({ length: 20 }, (_, i) => goesTo(file, { header: [`x-user: ${i}`] })));
		assert.ok(new Set(users).size > 2, String(users));
		assert.deepEqual(await goesTo(file, { header: ["x-user: 7"] }), users[7]);
		assert.match((await explain(file, {})).out, /does not have what is hashed: one is drawn at random/);
	}
	const cookie = hashing("cookie.yaml", "maglev", "cookie:user");
	const header = hashing("header.yaml", "maglev", "header:x-user");
	assert.equal(await goesTo(cookie, { header: ["cookie: a=b; user=7=7; c=d"] }), await goesTo(header, { header: ["x-user: 7=7"] }));
	assert.equal(await goesTo(hashing("path.yaml", "maglev", "path"), { url: "http://pay/p?q=1" }), await goesTo(header, { header: ["x-user: /p"] }));
	assert.equal(await goesTo(hashing("ip.yaml", "maglev", "ip"), { from: "10.0.0.1" }), await goesTo(header, { header: ["x-user: 10.0.0.1"] }));
});

test("the same trace comes as JSON with the same decisions, where it is asked for and where the output is no terminal", async () => {
	const asked = (await explain(FILE, { json: true, method: "POST", header: ["x-beta: 1"] })).out;
	const trace = JSON.parse(asked);
	assert.deepEqual(
		trace.considered.map(({ route, verdict }: { route: string; verdict: { kind: string } }) => [route, verdict.kind]),
		[
			["beta", "matched"],
			["pay", "later"],
			["all", "later"],
		],
	);
	assert.equal(trace.outcome.upstream, "beta");
	assert.equal(trace.outcome.because.place.line, 5);
	assert.ok(trace.decisions.some(({ stage, text }: { stage: string; text: string }) => stage === "pick" && /SRV of beta\.mesh/.test(text)));

	const options = { method: "POST", url: "http://pay/pay/1", header: ["x-beta: 1"], direction: "outbound" } as const;
	const pipe = captureIo();
	assert.equal(await runExplain(FILE, options, pipe), 0);
	assert.equal(pipe.out().replaceAll(FOLDER, ""), asked);
	const text = captureIo();
	assert.equal(await runExplain(FILE, { ...options, text: true }, text), 0);
	assert.match(text.out(), /^POST http:\/\/pay\/pay\/1 \(outbound\)\n├─ route\n/);
});

test("a request that nothing takes is refused with the reason that it would get", async () => {
	const { code, out } = await explain(FILE, { url: "http://nobody/" });
	assert.equal(code, 0);
	assert.match(out, /no route matches, and there is no upstream named "nobody"; `passthrough: false` refuses it/);
	assert.match(out, /no {2}404 no_route\. Try `nexus explain/);
});

test("without routes the Host names the upstream, whatever its port and case; others pass through where that is allowed", async () => {
	assert.match(
		(await explain(UNROUTED, { url: "http://PAY:80/x" })).out,
		/no route names this host, so the Host names the upstream(?:.|\n)*weighted among 2/,
	);
	assert.match(
		(await explain(UNROUTED, { url: "/x", header: ["Host: pay"] })).out,
		/no route names this host, so the Host names the upstream(?:.|\n)*weighted among 2/,
	);
	assert.match((await explain(UNROUTED, { url: "http://nobody/" })).out, /`passthrough: true` passes it on/);
});

test("an upstream's port of its own needs no route", async () => {
	assert.match((await explain(FILE, { url: "http://127.0.0.1:9001/any" })).out, /127\.0\.0\.1:9001 is the port of its own of upstream pay/);
});

test("inbound requests go to the application, and a caller is trusted by its address", async () => {
	const { code, out } = await explain(FILE, { direction: "inbound", url: "/orders", from: "10.1.2.3" });
	assert.equal(code, 0);
	assert.match(out, /10\.1\.2\.3 is among trustedProxies/);
	assert.match(out, /go to the application at 127\.0\.0\.1:3000/);
	assert.match((await explain(FILE, { direction: "inbound", url: "/", from: "11.0.0.1" })).out, /11\.0\.0\.1 is not among/);
});

test("a request that is none is refused with exit code 1 and a sentence", async () => {
	const cases: [Partial<ExplainOptions>, RegExp][] = [
		[{ url: "pay/1" }, /neither http:\/\/HOST\/PATH nor a path/],
		[{ url: "ftp://pay/1" }, /neither/],
		[{ url: "/pay/1" }, /add the header 'Host: NAME'/],
		[{ header: ["x-beta"] }, /not of the form 'name: value'/],
		[{ method: "G T" }, /is not a method/],
	];
	for (const [options, expected] of cases) {
		const { code, out, err } = await explain(FILE, options);
		assert.equal(code, 1);
		assert.match(err, expected);
		assert.equal(out, "");
	}
});

test("a policy with faults, or without the listener in question, explains nothing and says why", async () => {
	const faulty = await explain(policy("faulty.yaml", "service: A\n"), {});
	assert.equal(faulty.code, 1);
	assert.match(faulty.err, /faulty\.yaml:1:10: `A` is not a name/);
	assert.equal((await explain(join(FOLDER, "missing.yaml"), {})).code, 1);
	const inboundOnly = await explain(policy("in.yaml", "service: a\ninbound: { application: h:1 }\n"), {});
	assert.equal(inboundOnly.code, 1);
	assert.match(inboundOnly.err, /no `outbound` section/);
});

test("a thousand routes for other hosts are counted, not listed", async () => {
	const routes = Array.from({ length: 1000 }, (_, i) => `    - { name: r${i}, match: { host: h${i} }, to: pay }\n`).join("");
	const { out } = await explain(policy("many.yaml", POLICY.replace("  routes:\n", `  routes:\n${routes}`)), {});
	assert.match(out, /1000 further routes \(see --json\)/);
	assert.ok(out.split("\n").length < 40);
});

const GUARDED = policy(
	"guarded.yaml",
	`service: orders
identity: { files: { cert: a, key: b, ca: c } }
inbound:
  application: 127.0.0.1:3000
  authorization:
    rules:
      - { name: reads, action: allow, from: [frontend], methods: [GET], paths: [/orders/**] }
      - { name: no-debug, action: deny, headers: { x-debug: "1" } }
`,
);

async function inbound(url: string, from: string | undefined, more: Partial<ExplainOptions> = {}) {
	const { code, out, err } = await explain(GUARDED, { url, direction: "inbound", ...(from === undefined ? {} : { from }), ...more });
	return { code, err, lines: flat(out) };
}

test("on the way in each rule says for the caller whether it fits, with its line, and what is refused goes no further", async () => {
	const may = await inbound("/x/..//orders/7", "frontend");
	assert.equal(may.code, 0);
	for (const line of [
		"- the path /x/..//orders/7 is read as /orders/7 /guarded.yaml:3:1",
		"- the caller is spiffe://mesh.local/frontend /guarded.yaml:5:3",
		"yes rule reads fits: allowed /guarded.yaml:7:9",
		"- rule no-debug does not fit: header x-debug is absent /guarded.yaml:8:9",
	]) {
		assert.ok(may.lines.includes(line), `${line}\nis not in\n${may.lines.join("\n")}`);
	}
	const mayNot = await inbound("/orders/7", "spiffe://other.domain/frontend", { method: "POST" });
	assert.equal(mayNot.code, 0);
	assert.ok(mayNot.lines.includes("no refused: no rule allows it /guarded.yaml:5:3"), mayNot.lines.join("\n"));
	assert.ok(mayNot.lines.some((line) => line.startsWith("no 403 unauthorized.")));
	assert.ok(!mayNot.lines.includes("deadline"));
	assert.deepEqual(
		mayNot.lines.filter((line) => ["caller", "authorize", "route", "answer"].includes(line)),
		["caller", "authorize", "answer"],
	);
});

test("every line of a field is looked at, as the sidecar does", async () => {
	const { lines } = await inbound("/orders/7", "frontend", { header: ["X-Debug: 0", "x-debug: 1"] });
	assert.ok(lines.includes("no rule no-debug fits: refused /guarded.yaml:8:9"), lines.join("\n"));
});

test("without a caller nobody is authenticated; a caller that cannot be is said so", async () => {
	for (const from of [undefined, "unauthenticated", "127.0.0.1"]) {
		const { lines } = await inbound("/orders/7", from);
		assert.ok(lines.some((line) => line.startsWith("- the caller is not authenticated")));
		assert.ok(lines.some((line) => line.includes("`tls: strict` lets nobody in who shows no certificate")));
	}
	const { code, err } = await inbound("/", "front*");
	assert.equal(code, 1);
	assert.match(err, /^--from "front\*" is no address, service or SPIFFE ID of a caller/);
});

test("a path that nobody can tell the meaning of is refused before routes and rules, both ways", async () => {
	const refused = await inbound("/a%00", "frontend");
	assert.equal(refused.code, 0);
	assert.ok(refused.lines.includes("no refused: an encoded NUL in the path /guarded.yaml:3:1"), refused.lines.join("\n"));
	const { code, out } = await explain(FILE, { url: "http://pay/pay/%" });
	assert.equal(code, 0);
	assert.ok(flat(out).some((line) => line.startsWith("no 400 bad_request")));
});
