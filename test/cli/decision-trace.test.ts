/** docs/decision-trace.md: its policy runs, and what it prints is what a sidecar, `nexus tap` and `nexus explain` say. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, request } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { freePorts, NexusProcess, temporaryFolder } from "../support/processes.ts";

const PAGE = readFileSync(new URL("../../docs/decision-trace.md", import.meta.url), "utf8");
// Enough for outlier detection to eject the dead endpoint, and for the breaker to open; each request fails at once.
const REQUESTS_MAX = 50;

function block(kind: string): string {
	const [, text] = new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\``, "ms").exec(PAGE) ?? [];
	assert.ok(text, `the page has no block ${kind}`);
	return text;
}

/** What is left of each line when numbers, times and ids are taken out; lines of the policy stay. */
function shapes(text: string): string[] {
	return text
		.split("\n")
		.map((line) =>
			line
				.split(/(checkout\.yaml:\d+(?::\d+)?)/)
				.map((part, i) => (i % 2 === 1 ? part : part.replace(/\b[0-9a-f]{32}\b/g, "ID").replace(/\d+(\.\d+)*/g, "#")))
				.join("")
				.replace(/\s+/g, " ")
				.trim(),
		)
		.filter((line) => line !== "");
}

interface Got {
	readonly status: number;
	readonly headers: IncomingHttpHeaders;
}

function get(port: number, path: string, headers: Record<string, string>): Promise<Got> {
	return new Promise((resolve, reject) => {
		request({ host: "127.0.0.1", port, path, headers: { host: "payments", ...headers } }, (response) => {
			response.resume();
			response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers }));
		})
			.on("error", reject)
			.end();
	});
}

async function service(t: TestContext, port: number): Promise<() => Promise<void>> {
	const server = createServer((_request, response) => response.end("paid\n"));
	await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
	const stop = async (): Promise<void> => {
		server.closeAllConnections();
		await new Promise<void>((resolve) => server.close(() => resolve()));
	};
	t.after(() => stop());
	return stop;
}

test("the page about decision traces prints what the programs say", async (t) => {
	const [admin = 0, outbound = 0, dead = 0, alive = 0] = await freePorts(4);
	const ports = new Map([
		["15000", admin],
		["15001", outbound],
		["3001", dead],
		["3002", alive],
	]);
	const cwd = temporaryFolder(t, "decision-trace");
	const policy = block("yaml").replace(/127\.0\.0\.1:(\d+)/g, (_all, port: string) => `127.0.0.1:${ports.get(port)}`);
	writeFileSync(join(cwd, "checkout.yaml"), policy);
	const stop = await service(t, alive);
	const sidecar = new NexusProcess(t, ["sidecar", "--config", "checkout.yaml"], { cwd });
	await sidecar.said(/"message":"ready"/, "stderr");

	const tap = new NexusProcess(t, ["tap", `http://127.0.0.1:${admin}`], { cwd });
	await tap.said(/Ctrl-C ends it/, "stderr");
	// Which endpoint is first is drawn at the start; that of two requests in a row which meets the dead one is shown.
	let answer = await get(outbound, "/pay/1", { "x-nexus-trace": "why-0" });
	if (!String(answer.headers["x-nexus-trace"]).includes("!attempt")) answer = await get(outbound, "/pay/1", { "x-nexus-trace": "why-1" });
	assert.equal(answer.status, 200);
	assert.deepEqual(shapes(`x-nexus-trace: ${answer.headers["x-nexus-trace"]}`), shapes(block("text header")));
	await tap.said(/ 2 tries (?:.*\n)*.*try 2 was answered.*\n/);
	const [, shown] = /^(.* 2 tries .*\n(?: .*\n)+)/m.exec(tap.stdout) ?? [];
	assert.deepEqual(shapes(shown ?? ""), shapes(block("text tap")));
	tap.process.kill("SIGINT");
	assert.deepEqual(await tap.ended, { code: 0, signal: null });

	for (let i = 0; i < REQUESTS_MAX && !(await isEjected(admin, dead)); i++) await get(outbound, "/pay/2", {});
	await stop();
	let reason: string | string[] | undefined;
	for (let i = 0; i < REQUESTS_MAX && reason !== "breaker_open"; i++) reason = (await get(outbound, "/pay/3", {})).headers["x-nexus-reason"];
	assert.equal(reason, "breaker_open");
	const url = `http://127.0.0.1:${admin}`;
	const explain = new NexusProcess(t, ["explain", "checkout.yaml", "--url", "http://payments/pay/1", "--live", url, "--text"], { cwd });
	assert.equal((await explain.ended).code, 0, explain.stderr);
	assert.deepEqual(shapes(explain.stdout), shapes(block("text explain")));

	const { failures } = (await (await fetch(`${url}/failures?limit=1`)).json()) as { failures: { reason: string }[] };
	assert.deepEqual(
		failures.map((failure) => failure.reason),
		["breaker_open"],
	);
});

async function isEjected(admin: number, port: number): Promise<boolean> {
	const { upstreams } = (await (await fetch(`http://127.0.0.1:${admin}/upstreams`)).json()) as {
		upstreams: { endpoints: { address: string; ejected: boolean }[] }[];
	};
	return upstreams.some(({ endpoints }) => endpoints.some(({ address, ejected }) => ejected && address === `127.0.0.1:${port}`));
}
