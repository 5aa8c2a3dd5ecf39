// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the policy has this syntax as well
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { formatFaults, type LoadResult, loadEndpoints, loadPolicy } from "../../src/policy/load.ts";
import type { Snapshot } from "../../src/policy/snapshot.ts";

function load(text: string, env: Record<string, string> = {}): LoadResult {
	return loadPolicy(text, "p.yaml", env, 1);
}

function snapshotOf(text: string, env: Record<string, string> = {}): Snapshot {
	const result = load(text, env);
	assert.ok(result.ok, result.ok ? "" : formatFaults(result.faults, text));
	return result.snapshot;
}

/** `line:column path: message | hint` */
function faultsOf(text: string, env: Record<string, string> = {}): string[] {
	const result = load(text, env);
	assert.ok(!result.ok, "the policy was accepted");
	return result.faults.map(({ place, path, message, hint }) => `${place.line}:${place.column} ${path}: ${message}${hint === "" ? "" : ` | ${hint}`}`);
}

const BASE = "service: a\noutbound: {}\n";
const UP = `${BASE}upstreams:\n  u:\n    endpoints: [{ address: h:1 }]\n`;
const ROUTE = (route: string) => `service: a\noutbound:\n  routes:\n    - ${route}\nupstreams: { u: { endpoints: [{ address: h:1 }] } }\n`;

test("each fault is told with its place, its path and a hint", () => {
	const cases: [title: string, text: string, ...expected: string[]][] = [
		["empty", "", "1:1 : the file is empty | a policy begins with `service: NAME`"],
		["only a comment", "# nothing\n", "1:1 : the file is empty | a policy begins with `service: NAME`"],
		["a list", "- a\n", "1:1 : `- a` is not a mapping"],
		["missing key", "outbound: {}\n", "1:1 service: `service` is missing | add `service:` here"],
		["missing key inside", "service: a\ninbound: {}\n", "2:1 inbound.application: `application` is missing | add `application:` here"],
		["key without value", `${BASE}admin:\n`, "3:1 admin: `admin` has no value | write one after the colon, or remove the key"],
		["unknown key", `${BASE}drainTimout: 5s\n`, "3:1 drainTimout: unknown key `drainTimout` | did you mean `drainTimeout`?"],
		[
			"unknown key in another case",
			`${UP}    loadbalancing: random\n`,
			"6:5 upstreams.u.loadbalancing: unknown key `loadbalancing` | did you mean `loadBalancing`?",
		],
		["unknown key like none", `${BASE}admin: { zzzzzz: 1 }\n`, "3:10 admin.zzzzzz: unknown key `zzzzzz` | known here: listen"],
		["later value", `${UP}    protocol: http2\n`, "6:15 upstreams.u.protocol: `http2` is not something that this version acts on yet | use http1"],
		[
			"wrong choice",
			`${UP}    loadBalancing: round-robbin\n`,
			"6:20 upstreams.u.loadBalancing: `round-robbin` is not one of the choices | did you mean `round-robin`?",
		],
		["duplicate key", `${BASE}service: b\n`, "3:1 service: `service` stands here twice | keep one of them"],
		[
			"merge key",
			`${BASE}admin: { <<: { listen: h:1 } }\n`,
			'3:10 admin."<<": merge keys are not part of YAML 1.2 | repeat a whole value with an alias',
		],
		["duration as a number", `${BASE}drainTimeout: 5\n`, "3:15 drainTimeout: `5` has no unit | did you mean 5s or 5ms?"],
		[
			"duration with a space",
			`${BASE}drainTimeout: 5 s\n`,
			"3:15 drainTimeout: `5 s` is not a duration | write a number and its unit: 250ms, 5s, 1m30s, 1h",
		],
		["duration too short", `${BASE}drainTimeout: 99ms\n`, "3:15 drainTimeout: `99ms` is too short | at least 100ms"],
		["duration too long", `${BASE}drainTimeout: 25h\n`, "3:15 drainTimeout: `25h` is too long | at most 24h"],
		["number too large", `${UP}    pool: { maxConnections: 70000 }\n`, "6:29 upstreams.u.pool.maxConnections: `70000` is too large | at most 65535"],
		["number too small", `${UP}    pool: { maxConnections: 0 }\n`, "6:29 upstreams.u.pool.maxConnections: `0` is too small | at least 1"],
		[
			"spool too small",
			`${BASE}nexus: { url: "http://h:1", spool: { dir: s, maxBytes: 1000KiB } }\n`,
			"3:56 nexus.spool.maxBytes: `1000KiB` is too small | at least 1MiB",
		],
		[
			"spool too large",
			`${BASE}nexus: { url: "http://h:1", spool: { dir: s, maxBytes: 1025MiB } }\n`,
			"3:56 nexus.spool.maxBytes: `1025MiB` is too large | at most 1024MiB",
		],
		[
			"size of no spool directory",
			`${BASE}nexus: { url: "http://h:1", spool: { maxBytes: 64MiB } }\n`,
			"3:38 nexus.spool.maxBytes: `maxBytes` does not act without `dir` | name a directory, or remove it",
		],
		["fraction of a whole number", `${UP}    pool: { maxConnections: 1.5 }\n`, "6:29 upstreams.u.pool.maxConnections: `1.5` is not a whole number"],
		["no number", `${UP}    pool: { maxConnections: many }\n`, "6:29 upstreams.u.pool.maxConnections: `many` is not a number"],
		["sample above 1", `${BASE}accessLog: { sample: 50 }\n`, "3:22 accessLog.sample: `50` is too large | at most 1"],
		["no boolean", "service: a\noutbound: { passthrough: yes }\n", "2:26 outbound.passthrough: `yes` is not true or false"],
		["a scalar for a mapping", "service: a\noutbound: 5\n", "2:11 outbound: `5` is not a mapping"],
		["a mapping for a list", "service: a\noutbound: { routes: {} }\n", "2:21 outbound.routes: `{}` is not a list"],
		["a number for a name", "service: 5\noutbound: {}\n", '1:10 service: `5` is not text | put it in quotes: "5"'],
		[
			"name in capitals",
			"service: A\noutbound: {}\n",
			"1:10 service: `A` is not a name | at most 63 lower-case letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit",
		],
		[
			"address without port",
			"service: a\ninbound: { application: localhost }\n",
			"2:25 inbound.application: `localhost` has no port | write host:port as in 127.0.0.1:3000, [::1]:3000 or localhost:3000",
		],
		[
			"address without host",
			"service: a\ninbound: { application: :3000 }\n",
			"2:25 inbound.application: `:3000` has no host | say which: 127.0.0.1:3000 for this machine only, 0.0.0.0:3000 for all interfaces",
		],
		[
			"port 0 to connect to",
			"service: a\ninbound: { application: h:0 }\n",
			"2:25 inbound.application: `h:0` has no valid port | ports go from 1 to 65535",
		],
		[
			"listening on a socket",
			`${BASE}admin: { listen: "unix:/a" }\n`,
			'3:18 admin.listen: `"unix:/a"` is not an address | write host:port as in 127.0.0.1:3000, [::1]:3000 or localhost:3000',
		],
		[
			"no CIDR",
			"service: a\ninbound: { application: h:1, trustedProxies: [10.0.0.0/33] }\n",
			"2:47 inbound.trustedProxies[0]: `10.0.0.0/33` has no valid prefix length | the part after the slash goes from 0 to 32",
		],
		[
			"url",
			`${BASE}nexus: { url: nexus:7400 }\n`,
			"3:15 nexus.url: `nexus:7400` is not an http or https URL | write http://nexus:7400 or https://nexus:7400",
		],
		["url with password", `${BASE}nexus: { url: "http://u:p@h" }\n`, '3:15 nexus.url: `"http://u:p@h"` holds credentials | keep secrets out of URLs'],
		[
			"neither direction",
			"service: a\n",
			"1:1 : neither `inbound` nor `outbound` is given | add `inbound:` for traffic to this service, `outbound:` for traffic from it",
		],
		["unknown upstream", ROUTE("{ name: r, to: v }"), "4:22 outbound.routes[0].to: there is no upstream named `v` | add it under `upstreams`"],
		[
			"mistyped upstream",
			"service: a\noutbound: { routes: [{ name: r, to: paymnts }] }\nupstreams: { payments: { file: x } }\n",
			"2:37 outbound.routes[0].to: there is no upstream named `paymnts` | did you mean `payments`?",
		],
		[
			"two routes of a name",
			ROUTE("{ name: r, to: u }\n    - { name: r, to: u }"),
			"5:15 outbound.routes[1].name: a route named `r` stands above already | names of routes are unique",
		],
		[
			"method twice",
			ROUTE("{ name: r, to: u, match: { method: GET, methods: [PUT] } }"),
			"4:34 outbound.routes[0].match.method: `method` and `methods` are both given | keep one of them",
		],
		[
			"method in small letters",
			ROUTE("{ name: r, to: u, match: { method: get } }"),
			"4:42 outbound.routes[0].match.method: `get` is not written in capitals | methods are case-sensitive: GET",
		],
		[
			"path without slash",
			ROUTE("{ name: r, to: u, match: { path: a } }"),
			"4:40 outbound.routes[0].match.path: `a` is not a path pattern | begin with `/`: /pay exactly, /pay/** for /pay and all below",
		],
		[
			"host with port",
			ROUTE('{ name: r, to: u, match: { host: "u:80" } }'),
			'4:40 outbound.routes[0].match.host: `"u:80"` has a port | routes compare host names without their port',
		],
		[
			"every host",
			ROUTE('{ name: r, to: u, match: { host: "*" } }'),
			'4:40 outbound.routes[0].match.host: `"*"` matches every host | leave `host` out instead',
		],
		[
			"header as a number",
			ROUTE("{ name: r, to: u, match: { headers: { x: 1 } } }"),
			'4:48 outbound.routes[0].match.headers.x: `1` is not text | put it in quotes: "1"',
		],
		[
			"header value that splits",
			ROUTE('{ name: r, to: u, match: { headers: { x: "a\\r\\nb" } } }'),
			'4:48 outbound.routes[0].match.headers.x: `"a\\r\\nb"` is not a header value | at most 4096 visible characters, without spaces around',
		],
		[
			"header name",
			ROUTE("{ name: r, to: u, match: { headers: { x y: z } } }"),
			'4:45 outbound.routes[0].match.headers."x y": `x y` is not a header name | letters, digits and `-`, at most 64',
		],
		[
			"upstream name",
			`${BASE}upstreams: { U: { file: x } }\n`,
			"3:14 upstreams.U: `U` is not a name | at most 63 lower-case letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit",
		],
		[
			"no endpoints",
			`${BASE}upstreams: { u: {} }\n`,
			"3:14 upstreams.u: upstream `u` has no endpoints | give one of `endpoints`, `dns`, `file` and `registry`",
		],
		["empty endpoints", `${BASE}upstreams: { u: { endpoints: [] } }\n`, "3:30 upstreams.u.endpoints: `[]` is empty | at least 1"],
		[
			"two sources",
			`${UP}    file: x\n`,
			"6:5 upstreams.u.file: `endpoints` and `file` are both given | keep one of `endpoints`, `dns`, `file` and `registry`",
		],
		[
			"one endpoint twice",
			`${BASE}upstreams: { u: { endpoints: [{ address: h:1 }, { address: h:1 }] } }\n`,
			"3:60 upstreams.u.endpoints[1].address: `h:1` stands here twice | give it a larger `weight` instead",
		],
		[
			"registry",
			`${BASE}upstreams: { u: { registry: nexus } }\n`,
			"3:19 upstreams.u.registry: `registry` does not act without `nexus.url` | add `nexus: { url: http://... }`",
		],
		[
			"A without port",
			`${BASE}upstreams: { u: { dns: { name: h } } }\n`,
			"3:19 upstreams.u.dns: `port` is missing | A and AAAA records carry no port: add `port:`, or use `type: SRV`",
		],
		[
			"SRV with port",
			`${BASE}upstreams: { u: { dns: { name: h, type: SRV, port: 1 } } }\n`,
			"3:46 upstreams.u.dns.port: `port` does not act with SRV | SRV records bring their own ports: remove it",
		],
		[
			"DNS server by name",
			`${BASE}upstreams: { u: { dns: { name: h, port: 1, servers: ["ns:53"] } } }\n`,
			'3:54 upstreams.u.dns.servers[0]: `"ns:53"` names its server instead of giving an IP address | write 10.0.0.2 or 10.0.0.2:5353',
		],
		[
			"path of a tcp check",
			`${UP}    healthCheck: { kind: tcp, path: / }\n`,
			"6:31 upstreams.u.healthCheck.path: `path` does not act with `kind: tcp` | remove it, or use `kind: http`",
		],
		[
			"check longer than its interval",
			`${UP}    healthCheck: { interval: 500ms }\n`,
			"6:30 upstreams.u.healthCheck.interval: the timeout of the check is longer than its interval | checks of one endpoint do not overlap: raise the interval",
		],
		[
			"one port twice",
			`${BASE}admin: { listen: 127.0.0.1:15001 }\n`,
			"2:1 outbound.listen: port 15001 is taken by `admin.listen` already | give each listener a port of its own",
		],
		[
			"one port on all interfaces",
			"service: a\ninbound: { listen: 0.0.0.0:9, application: h:1 }\noutbound: { listen: localhost:9 }\n",
			"3:21 outbound.listen: port 9 is taken by `inbound.listen` already | give each listener a port of its own",
		],
		[
			"variable not set",
			`${BASE}drainTimeout: \${D}\n`,
			"3:15 drainTimeout: the value needs the environment variable D, which is not set | set it, or write ${D:-default}",
		],
		[
			"variable without end",
			`${BASE}drainTimeout: \${D\n`,
			"3:15 drainTimeout: the value has a `${` without its `}` | write ${NAME} or ${NAME:-default}; $${ stands for a literal ${",
		],
		[
			"variable without name",
			`${BASE}drainTimeout: \${1}\n`,
			"3:15 drainTimeout: the value has no variable name in `${1}` | write ${NAME} or ${NAME:-default}; $${ stands for a literal ${",
		],
		["NUL", "service: a\0\n", "1:11 : the text holds a NUL character | is this a text file in UTF-8?"],
		["two documents", `${BASE}---\n${BASE}`, "3:1 : a second document begins here | one file holds one policy: remove what follows the `---`"],
		["unknown alias", `${BASE}admin: *x\n`, "3:8 admin: the alias *x has no complete anchor before it | write &x at the value that it repeats"],
		[
			"alias inside its own anchor",
			`${BASE}admin: &x { listen: *x }\n`,
			"3:21 admin.listen: the alias *x has no complete anchor before it | write &x at the value that it repeats",
		],
		["a list as a key", `${BASE}? [a]\n: b\n`, "3:3 : a key must be a plain word | put it in quotes"],
		["a tag", `${BASE}admin: !x {}\n`, "3:8 : Unresolved tag: !x"],
		["__proto__", `${BASE}admin: { __proto__: { listen: h:1 } }\n`, "3:10 admin.__proto__: `__proto__` cannot be a key | choose another name"],
	];
	for (const [title, text, ...expected] of cases) assert.deepEqual(faultsOf(text), expected, title);
});

test("what is no YAML is told by its place, and nothing is guessed about the rest", () => {
	const cases: [text: string, place: string][] = [
		["service: a\n\toutbound: {}\n", "2:1"],
		["service: [a\noutbound: {}\n", "2:1"],
		["service: a: b\n", "1:10"],
		['service: "a\n', "2:1"],
		["service: @a\n", "1:10"],
	];
	for (const [text, place] of cases) {
		const faults = faultsOf(text);
		assert.ok(faults[0]?.startsWith(`${place} :`), `${JSON.stringify(text)}: ${faults.join("\n")}`);
	}
});

test("texts made to exhaust a parser are refused", () => {
	assert.match(faultsOf("[".repeat(500_000))[0] ?? "", /nested too deeply/);
	assert.ok(faultsOf(`a: ${"[".repeat(60)}${"]".repeat(60)}\n`).some((fault) => /nested too deeply/.test(fault)));
	assert.match(faultsOf("a".repeat(1024 * 1024 + 1))[0] ?? "", /characters \| at most 1048576/);
	let laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
	for (let i = 1; i < 10; i++)
		laughs += `a${i}: &a${i} [${Array(10)
			.fill(`*a${i - 1}`)
			.join(", ")}]\n`;
	assert.ok(faultsOf(laughs).some((fault) => /aliases and policies stand for too many values/.test(fault)));
});

test("all faults of all kinds are told at once, in the order of the text", () => {
	const text = "service: a\nservice: b\noutbond: {}\noutbound: { passthrough: maybe, routes: [{ name: r, to: x }] }\ndrainTimeout: 5\n";
	assert.deepEqual(
		faultsOf(text).map((fault) => fault.split(" ")[0]),
		["2:1", "3:1", "4:26", "4:57", "5:15"],
	);
});

test("defaults stand where nothing is said", () => {
	const { outbound, upstreams, admin, drainTimeoutMs, trustDomain, accessLogSample, nexus, inbound } = snapshotOf(UP);
	assert.deepEqual(outbound?.listen, { kind: "tcp", host: "127.0.0.1", port: 15001 });
	assert.deepEqual(admin.listen, { kind: "tcp", host: "127.0.0.1", port: 15000 });
	assert.deepEqual(
		{ drainTimeoutMs, trustDomain, accessLogSample, nexus, inbound },
		{ drainTimeoutMs: 30_000, trustDomain: "mesh.local", accessLogSample: undefined, nexus: undefined, inbound: undefined },
	);
	assert.deepEqual(upstreams.get("u")?.timeout, { requestMs: 15_000, connectMs: 1_000, idleMs: 60_000 });
	assert.deepEqual(upstreams.get("u")?.pool, { connectionsMax: 1024, pendingMax: 1024, pendingTimeoutMs: 1_000 });
	assert.equal(upstreams.get("u")?.loadBalancing, "round-robin");
	assert.equal(upstreams.get("u")?.healthCheck, undefined);
});

test("values are read into what the data plane needs", () => {
	const snapshot = snapshotOf(`service: a
inbound: { application: "unix:/run/a.sock", trustedProxies: [10.0.0.1, fd00::/8] }
outbound:
  routes:
    - { name: r, to: u, match: { host: "*.Mesh.Local", path: /a/**, method: PUT, headers: { X-Beta: "1" } }, rewrite: { host: "u:80" } }
upstreams:
  u:
    endpoints: [{ address: "[::1]:80", weight: 3, zone: z }]
    healthCheck: { interval: 1m30s, headers: { X-A: b } }
  d: { dns: { name: Up.Mesh, type: SRV } }
  f: { file: ./e.yaml }
accessLog: { sample: 0.25 }
nexus: { url: "http://h:7400/", spool: { maxEvents: 5 } }
`);
	assert.deepEqual(snapshot.inbound?.application, { kind: "unix", path: "/run/a.sock" });
	assert.deepEqual(snapshot.inbound?.trustedProxies, ["10.0.0.1/32", "fd00::/8"]);
	const route = snapshot.outbound?.routes[0];
	assert.equal(route?.match.host, "*.mesh.local");
	assert.deepEqual(route?.match.path, { kind: "prefix", pattern: "/a/**" });
	assert.deepEqual(route?.match.methods, ["PUT"]);
	assert.deepEqual([...(route?.match.headers ?? [])], [["x-beta", { kind: "exact", value: "1" }]]);
	assert.equal(route?.rewriteHost, "u:80");
	assert.deepEqual(route?.place, { file: "p.yaml", line: 5, column: 7 });
	const upstream = snapshot.upstreams.get("u");
	assert.deepEqual(upstream?.endpoints, { kind: "static", endpoints: [{ address: { kind: "tcp", host: "::1", port: 80 }, weight: 3, zone: "z" }] });
	assert.equal(upstream?.healthCheck?.intervalMs, 90_000);
	assert.deepEqual(upstream?.healthCheck?.place, { file: "p.yaml", line: 9, column: 5 });
	assert.deepEqual([...(upstream?.healthCheck?.headers ?? [])], [["x-a", "b"]]);
	assert.deepEqual(snapshot.upstreams.get("d")?.endpoints, {
		kind: "dns",
		name: "up.mesh",
		port: undefined,
		type: "SRV",
		refreshMs: 5_000,
		servers: [],
	});
	assert.deepEqual(snapshot.upstreams.get("f")?.endpoints, { kind: "file", path: resolve("e.yaml") });
	assert.equal(snapshot.accessLogSample, 0.25);
	assert.deepEqual(snapshot.nexus, { url: "http://h:7400", spoolEventsMax: 5, spoolDirectory: undefined });
	const spooled = snapshotOf('service: a\noutbound: {}\nnexus: { url: "http://h:1", spool: { dir: s } }\n').nexus?.spoolDirectory;
	assert.deepEqual(spooled, { dir: resolve("s"), bytesMax: 64 * 1024 * 1024, place: { file: "p.yaml", line: 3, column: 38 } });
	assert.match(snapshot.hash, /^[0-9a-f]{12}$/);
});

test("the environment fills values, as text or as number, and stays out of messages", () => {
	const text = `service: \${S}-\${T:-x}\noutbound: { passthrough: "\${P}" }\nupstreams: { u: { endpoints: [{ address: "h:\${PORT}", weight: "\${W:-7}" }] } }\n`;
	const snapshot = snapshotOf(text, { S: "a", P: "true", PORT: "80", T: "" });
	assert.equal(snapshot.service, "a-x");
	assert.equal(snapshot.outbound?.passthrough, true);
	assert.deepEqual(snapshot.upstreams.get("u")?.endpoints, {
		kind: "static",
		endpoints: [{ address: { kind: "tcp", host: "h", port: 80 }, weight: 7, zone: undefined }],
	});
	const escaped = snapshotOf(ROUTE('{ name: r, to: u, match: { headers: { x: "$${A}" } } }'));
	assert.deepEqual(escaped.outbound?.routes[0]?.match.headers.get("x"), { kind: "exact", value: "${A}" });
	const secret = `${BASE}drainTimeout: \${SECRET}\n`;
	const result = load(secret, { SECRET: "hunter2" });
	assert.ok(!result.ok);
	assert.doesNotMatch(formatFaults(result.faults, secret), /hunter2/);
});

test("an alias repeats a whole value, and faults inside point at the anchor", () => {
	const text = `${BASE}upstreams:\n  u: &u { endpoints: [{ address: h:1 }] }\n  v: *u\n`;
	assert.deepEqual(snapshotOf(text).upstreams.get("v")?.endpoints, snapshotOf(text).upstreams.get("u")?.endpoints);
	assert.deepEqual(
		faultsOf(text.replace("h:1", "h")).map((fault) => fault.split(":").slice(0, 2).join(":")),
		["4:34 upstreams.u.endpoints[0].address", "4:34 upstreams.v.endpoints[0].address"],
	);
});

test("a snapshot is frozen all the way down, its maps included", () => {
	const snapshot = snapshotOf(`${UP}    healthCheck: { headers: { a: b } }\n`);
	const upstream = snapshot.upstreams.get("u");
	for (const part of [
		snapshot,
		snapshot.outbound,
		snapshot.outbound?.routes,
		snapshot.outbound?.listen,
		upstream,
		upstream?.endpoints,
		upstream?.healthCheck,
		upstream?.healthCheck?.statuses,
	]) {
		assert.ok(part !== undefined && Object.isFrozen(part));
	}
	for (const map of [snapshot.upstreams, upstream?.healthCheck?.headers]) {
		const writable = map as Map<string, unknown>;
		assert.throws(() => writable.set("x", 1), TypeError);
		assert.throws(() => writable.delete("u"), TypeError);
		assert.throws(() => writable.clear(), TypeError);
	}
});

test("the hash tells texts apart, the version is handed in", () => {
	const one = loadPolicy(UP, "p.yaml", {}, 3);
	const two = loadPolicy(`${UP}# more\n`, "p.yaml", {}, 4);
	assert.ok(one.ok && two.ok);
	assert.notEqual(one.snapshot.hash, two.snapshot.hash);
	assert.deepEqual([one.snapshot.version, two.snapshot.version], [3, 4]);
});

test("faults are shown with the line, a caret and the hint", () => {
	const text = `${BASE}drainTimeout: 5\n`;
	const result = load(text);
	assert.ok(!result.ok);
	assert.equal(
		formatFaults(result.faults, text),
		"p.yaml:3:15: `5` has no unit\n3 | drainTimeout: 5\n  |               ^\n  hint: did you mean 5s or 5ms?\n",
	);
	assert.match(formatFaults(result.faults, text, { color: true }), /\x1b\[31m/);
});

test("a code frame shows nothing that a terminal would obey, and stays narrow", () => {
	const text = `service: a\noutbound: {}\nadmin: { "\x1b[2J${"x".repeat(300)}": 1, y: 1 }\n`;
	const result = load(text);
	assert.ok(!result.ok);
	const shown = formatFaults(result.faults, text);
	assert.doesNotMatch(shown, /\x1b/);
	for (const line of shown.split("\n").filter((l) => / \| /.test(l))) assert.ok(line.length < 130, line);
});

test("a thousand faults are shown as a screenful and a count", () => {
	const text = `service: a\noutbound: {}\n${Array.from({ length: 80 }, (_, i) => `k${i}: 1\n`).join("")}`;
	const result = load(text);
	assert.ok(!result.ok);
	assert.match(formatFaults(result.faults, text), /\.\.\. and 30 more/);
});

test("a file of endpoints is a list in YAML or JSON, with faults like those of a policy", () => {
	const yaml = loadEndpoints("- { address: 127.0.0.1:1, weight: 2, zone: z }\n- { address: unix:/a }\n", "e.yaml", {});
	assert.deepEqual(yaml.ok && yaml.endpoints, [
		{ address: { kind: "tcp", host: "127.0.0.1", port: 1 }, weight: 2, zone: "z" },
		{ address: { kind: "unix", path: "/a" }, weight: 1, zone: undefined },
	]);
	const json = loadEndpoints('[{"address":"127.0.0.1:1"}]', "e.json", {});
	assert.ok(json.ok && Object.isFrozen(json.endpoints[0]));
	assert.deepEqual(loadEndpoints("[]", "e.yaml", {}), { ok: true, endpoints: [] });
	for (const bad of ["", "a: 1", "- 5", "- { adress: h:1 }", "- { address: h:1, weight: 0 }"]) {
		const result = loadEndpoints(bad, "e.yaml", {});
		assert.ok(!result.ok && result.faults[0]?.place.file === "e.yaml", bad);
	}
});
