/** The three ways from an application into the mesh, by real clients, and what decides where a request goes. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { promisify } from "node:util";
import { temporaryFolder } from "../support/processes.ts";
import { rawClient } from "../support/raw-peer.ts";
import { valuesOf } from "../support/strict-reader.ts";
import { type Echoed, echo, httpServer, startSidecar, type TestSidecar } from "./support.ts";

const execute = promisify(execFile);
// Compiling the Go program on a cold cache and a busy machine takes its time.
const TIMEOUT_MS = 120_000;

async function mesh(t: TestContext, outbound = "", more = ""): Promise<TestSidecar> {
	const [payments, search] = [await httpServer(t, echo("payments")), await httpServer(t, echo("search"))];
	return startSidecar(
		t,
		`outbound:
  listen: 127.0.0.1:0
${outbound}
upstreams:
  payments: { listen: "127.0.0.1:0", endpoints: [ { address: "${payments.address}" } ] }
  search: { endpoints: [ { address: "${search.address}" } ] }
${more}`,
	);
}

/** Sends one request by hand and reads what the upstream saw. */
async function ask(t: TestContext, port: number, head: string): Promise<Echoed> {
	const client = await rawClient(t, port);
	const answer = await client.send(`${head}\r\n\r\n`).answer();
	assert.equal(answer.status, 200, answer.body.toString());
	return JSON.parse(answer.body.toString()) as Echoed;
}

function isInstalled(command: string, ...args: string[]): boolean {
	return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

describe("the Host field", { timeout: TIMEOUT_MS }, () => {
	it("names the upstream, whatever its case and port, and reaches it unchanged", async (t) => {
		const sidecar = await mesh(t);
		for (const host of ["payments", "PAYMENTS", "payments:80", "payments.", "Payments:15001"]) {
			const seen = await ask(t, sidecar.port("outbound"), `GET /pay?x=1 HTTP/1.1\r\nHost: ${host}`);
			assert.deepEqual([seen.by, seen.url, seen.headers.host], ["payments", "/pay?x=1", host]);
		}
		assert.equal((await ask(t, sidecar.port("outbound"), "GET / HTTP/1.1\r\nHost: search")).by, "search");
	});

	it("that names nobody is refused with no_route, and the connection lives on", async (t) => {
		const sidecar = await mesh(t);
		const client = await rawClient(t, sidecar.port("outbound"));
		client.send("GET / HTTP/1.1\r\nHost: nobody\r\n\r\nGET / HTTP/1.1\r\nHost: search\r\n\r\n");
		const refusal = await client.answer(0);
		assert.deepEqual([refusal.status, valuesOf(refusal, "x-nexus-reason")], [404, ["no_route"]]);
		const problem = JSON.parse(refusal.body.toString()) as Record<string, string>;
		assert.match(problem.detail ?? "", /"nobody"/);
		assert.match(problem.hint ?? "", /nexus explain/);
		assert.equal((await client.answer(1)).status, 200);
		assert.equal(await sidecar.metric("nexus_local_answers_total", { direction: "outbound", reason: "no_route" }), 1);
	});

	it("that is missing in HTTP/1.0 names nobody on the common port, and on a port of its own becomes the upstream's name", async (t) => {
		const sidecar = await mesh(t);
		const client = await rawClient(t, sidecar.port("outbound"));
		assert.equal((await client.send("GET / HTTP/1.0\r\n\r\n").answer()).status, 404);
		const seen = await ask(t, sidecar.port("payments"), "GET /old HTTP/1.0");
		assert.deepEqual([seen.by, seen.url, seen.headers.host], ["payments", "/old", "payments"]);
	});
});

describe("a port of its own", { timeout: TIMEOUT_MS }, () => {
	it("leads to its upstream whatever the Host says, which passes unchanged", async (t) => {
		const sidecar = await mesh(t);
		for (const host of ["127.0.0.1:9001", "search", "whoever.test"]) {
			const seen = await ask(t, sidecar.port("payments"), `GET /a HTTP/1.1\r\nHost: ${host}`);
			assert.deepEqual([seen.by, seen.headers.host], ["payments", host]);
		}
	});
});

describe("the absolute form, as HTTP_PROXY makes clients send it", { timeout: TIMEOUT_MS }, () => {
	it("names the upstream by its authority, which replaces the Host that came along (RFC 9112 3.2.2)", async (t) => {
		const sidecar = await mesh(t);
		const seen = await ask(t, sidecar.port("outbound"), "GET http://payments:8080/pay?x=1 HTTP/1.1\r\nHost: search");
		assert.deepEqual([seen.by, seen.url, seen.headers.host], ["payments", "/pay?x=1", "payments:8080"]);
		assert.equal((await ask(t, sidecar.port("outbound"), "GET http://payments HTTP/1.1\r\nHost: payments")).url, "/");
		assert.equal((await ask(t, sidecar.port("outbound"), "GET http://search/ HTTP/1.0")).by, "search");
	});

	it("serves curl", { skip: isInstalled("curl", "--version") ? false : "curl is not installed" }, async (t) => {
		const sidecar = await mesh(t);
		const proxy = `http://127.0.0.1:${sidecar.port("outbound")}`;
		const { stdout } = await execute("curl", ["-sS", "-d", "amount=5", "http://payments/pay"], { env: { ...process.env, http_proxy: proxy } });
		const seen = JSON.parse(stdout) as Echoed;
		assert.deepEqual([seen.by, seen.method, seen.url, seen.body, seen.headers.host], ["payments", "POST", "/pay", "amount=5", "payments"]);
		assert.equal(seen.headers["proxy-connection"], undefined);
	});

	it("serves Python's urllib", { skip: isInstalled("python3", "--version") ? false : "python3 is not installed" }, async (t) => {
		const sidecar = await mesh(t);
		const program = "import urllib.request as u; print(u.urlopen('http://payments/pay', data=b'amount=5').read().decode())";
		const env = { ...process.env, http_proxy: `http://127.0.0.1:${sidecar.port("outbound")}`, no_proxy: "" };
		const seen = JSON.parse((await execute("python3", ["-c", program], { env })).stdout) as Echoed;
		assert.deepEqual([seen.by, seen.method, seen.body], ["payments", "POST", "amount=5"]);
	});

	it("serves Go's net/http", { skip: isInstalled("go", "version") ? false : "go is not installed" }, async (t) => {
		const sidecar = await mesh(t);
		const folder = temporaryFolder(t, "go");
		const file = join(folder, "main.go");
		writeFileSync(
			file,
			`package main
import ("io"; "net/http"; "os"; "strings")
func main() {
	answer, err := http.Post("http://payments/pay", "text/plain", strings.NewReader("amount=5"))
	if err != nil { panic(err) }
	io.Copy(os.Stdout, answer.Body)
}
`,
		);
		const env = { ...process.env, HTTP_PROXY: `http://127.0.0.1:${sidecar.port("outbound")}`, GOFLAGS: "-mod=mod", GO111MODULE: "off" };
		const seen = JSON.parse((await execute("go", ["run", file], { env, cwd: folder })).stdout) as Echoed;
		assert.deepEqual([seen.by, seen.method, seen.body], ["payments", "POST", "amount=5"]);
	});

	it("serves Node's fetch and http", async (t) => {
		const sidecar = await mesh(t);
		const env = { ...process.env, NODE_USE_ENV_PROXY: "1", HTTP_PROXY: `http://127.0.0.1:${sidecar.port("outbound")}`, NO_PROXY: "" };
		for (const program of [
			"require('node:http').get('http://payments/pay', (r) => r.pipe(process.stdout))",
			"fetch('http://payments/pay').then((r) => r.text()).then(console.log)",
		]) {
			const seen = JSON.parse((await execute(process.execPath, ["-e", program], { env })).stdout) as Echoed;
			assert.deepEqual([seen.by, seen.url, seen.headers.host], ["payments", "/pay", "payments"]);
		}
	});

	it("is refused for CONNECT, which would carry what the sidecar cannot see", async (t) => {
		const sidecar = await mesh(t);
		const client = await rawClient(t, sidecar.port("outbound"));
		const answer = await client.send("CONNECT payments:443 HTTP/1.1\r\nHost: payments:443\r\n\r\n").answer();
		assert.deepEqual([answer.status, valuesOf(answer, "x-nexus-reason")], [405, ["method_not_allowed"]]);
		await client.untilClosed();
	});
});

describe("routes", { timeout: TIMEOUT_MS }, () => {
	const ROUTES = `  routes:
    - { name: beta, match: { host: payments, path: /pay/**, headers: { x-beta: "1" } }, to: search, rewrite: { host: beta.internal } }
    - { name: pay, match: { host: payments, path: /pay/** }, to: payments }
    - { name: write, match: { host: "*.docs.test", methods: [PUT, DELETE] }, to: payments }
    - { name: read, match: { host: "*.docs.test" }, to: search }
`;

	it("decide by host, path, method and header, the first that matches wins", async (t) => {
		const sidecar = await mesh(t, ROUTES);
		const port = sidecar.port("outbound");
		for (const [request, by] of [
			["GET /pay/1 HTTP/1.1\r\nHost: payments", "payments"],
			["GET /pay HTTP/1.1\r\nHost: payments", "payments"],
			["GET /pay/1 HTTP/1.1\r\nHost: payments\r\nX-Beta: 1", "search"],
			["GET /pay/1 HTTP/1.1\r\nHost: payments\r\nX-Beta: 2", "payments"],
			["PUT /x HTTP/1.1\r\nHost: a.docs.test\r\nContent-Length: 0", "payments"],
			["GET /x HTTP/1.1\r\nHost: a.docs.test", "search"],
			["GET http://a.docs.test/x HTTP/1.1\r\nHost: payments", "search"],
		] as const) {
			assert.equal((await ask(t, port, request)).by, by, request);
		}
	});

	it("decide alone about a host that they name; another host still names its upstream", async (t) => {
		const sidecar = await mesh(t, ROUTES);
		const client = await rawClient(t, sidecar.port("outbound"));
		const refusal = await client.send("GET /refunds HTTP/1.1\r\nHost: payments\r\n\r\n").answer(0);
		assert.deepEqual([refusal.status, valuesOf(refusal, "x-nexus-reason")], [404, ["no_route"]]);
		assert.equal((await ask(t, sidecar.port("outbound"), "GET /any HTTP/1.1\r\nHost: search")).by, "search");
	});

	it("rewrite the Host where they say so, and nowhere else", async (t) => {
		const sidecar = await mesh(t, ROUTES);
		const port = sidecar.port("outbound");
		const rewritten = await ask(t, port, "GET /pay/1 HTTP/1.1\r\nA: 1\r\nHost: payments\r\nX-Beta: 1");
		assert.equal(rewritten.headers.host, "beta.internal");
		const absolute = await ask(t, port, "GET http://payments/pay/1 HTTP/1.1\r\nHost: x\r\nX-Beta: 1");
		assert.equal(absolute.headers.host, "beta.internal");
		assert.equal((await ask(t, port, "GET /pay/1 HTTP/1.1\r\nHost: payments")).headers.host, "payments");
	});

	it("stand in the metrics by name", async (t) => {
		const sidecar = await mesh(t, ROUTES);
		await ask(t, sidecar.port("outbound"), "GET /pay/1 HTTP/1.1\r\nHost: payments");
		await ask(t, sidecar.port("outbound"), "GET / HTTP/1.1\r\nHost: search");
		const of = (route: string, upstream: string): Promise<number> =>
			sidecar.metric("nexus_requests_total", { direction: "outbound", route, upstream, status_class: "2xx" });
		assert.deepEqual([await of("pay", "payments"), await of("", "search"), await of("beta", "search")], [1, 1, 0]);
	});
});
