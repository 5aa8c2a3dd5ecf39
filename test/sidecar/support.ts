/** A sidecar in this process with a policy file of its own, and all that it tells. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { seededRng } from "../../src/core/rng.ts";
import type { CloudEvent } from "../../src/events/cloud-event.ts";
import { formatFaults } from "../../src/policy/load.ts";
import { loadPolicyFile } from "../../src/policy/load-file.ts";
import type { UpstreamView } from "../../src/sidecar/admin/view.ts";
import { Sidecar } from "../../src/sidecar/sidecar.ts";
import { createLogger } from "../../src/telemetry/log.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { temporaryFolder } from "../support/processes.ts";

export interface TestSidecar {
	readonly sidecar: Sidecar;
	readonly policyFile: string;
	readonly events: CloudEvent[];
	/** Writes `policy` in place, with the same service and admin as at the start. */
	write(policy: string): void;
	/** Bound port of `inbound`, `outbound`, `admin` or of an upstream with a port of its own. */
	port(listener: string): number;
	upstream(name: string): UpstreamView;
	/** Status and JSON of the admin API. */
	admin(method: "GET" | "POST", path: string): Promise<{ status: number; body: unknown }>;
	/** Value of the one sample with this name and these labels on /metrics, 0 where there is none. */
	metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
	/** What the log has written, one object a line. */
	log(): Promise<Record<string, unknown>[]>;
}

// Clients that a test leaves open must not hold up its end.
const headOf = (service: string): string => `service: ${service}\nadmin: { listen: 127.0.0.1:0 }\ndrainTimeout: 100ms\n`;

/** `policy`: YAML without `service` and `admin`. Closed at the end of the test. */
export async function startSidecar(t: TestContext, policy: string, options: { clock?: Clock; service?: string } = {}): Promise<TestSidecar> {
	const { service = "tested" } = options;
	const head = headOf(service);
	const folder = temporaryFolder(t, "sidecar");
	const policyFile = join(folder, "policy.yaml");
	const logFile = join(folder, "log");
	writeFileSync(policyFile, head + policy);
	const { text, result } = await loadPolicyFile(policyFile, {}, 1);
	assert.ok(result.ok, result.ok ? "" : formatFaults(result.faults, text));
	const log = createLogger({ level: "info", destination: logFile });
	const clock = options.clock ?? systemClock;
	const base = { configFile: policyFile, env: {}, clock, rng: seededRng(1), log, version: "0.0.0", accessLogDestination: join(folder, "access") };
	const sidecar = new Sidecar(service, base);
	const events: CloudEvent[] = [];
	sidecar.subscribeEvents((event) => events.push(event));
	const faults = await sidecar.start(result.snapshot);
	assert.deepEqual(faults, [], formatFaults(faults, text));
	t.after(async () => {
		const closed = sidecar.close("api");
		if (clock instanceof FakeClock) await runUntil(closed, clock);
		await closed;
	});
	const port = (listener: string): number => {
		const view = sidecar.listeners().find(({ name }) => name === listener);
		assert.ok(view !== undefined, `no listener ${listener}`);
		return Number(view.address.slice(view.address.lastIndexOf(":") + 1));
	};
	return {
		sidecar,
		policyFile,
		events,
		write: (next) => writeFileSync(policyFile, head + next),
		port,
		upstream(name) {
			const view = sidecar.upstreams().find((candidate) => candidate.name === name);
			assert.ok(view !== undefined, `no upstream ${name}`);
			return view;
		},
		async admin(method, path) {
			const response = await fetch(`http://127.0.0.1:${port("admin")}${path}`, { method });
			return { status: response.status, body: await response.json() };
		},
		async metric(name, labels = {}) {
			return sampleOf(await sidecar.metricsText(), name, labels);
		},
		async log() {
			await log.flush(1000);
			const lines = readFileSync(logFile, "utf8").trimEnd().split("\n");
			return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Record<string, unknown>);
		},
	};
}

/** Lets a clock of the test go on until something that takes real turns of the event loop has happened. */
export async function runUntil(happened: Promise<unknown>, clock: FakeClock, stepMs = 50): Promise<void> {
	const state = { isOver: false };
	const over = (): void => {
		state.isOver = true;
	};
	void happened.then(over, over);
	while (!state.isOver) {
		clock.advance(stepMs);
		await new Promise((resolve) => setTimeout(resolve, 1));
	}
}

export function sampleOf(exposition: string, name: string, labels: Readonly<Record<string, string>>): number {
	const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
	const found = exposition.split("\n").filter((line) => {
		const rest = line.startsWith(name) ? line.slice(name.length) : "#";
		return (rest.startsWith("{") || rest.startsWith(" ")) && wanted.every((pair) => rest.includes(pair));
	});
	assert.ok(found.length <= 1, `more than one sample of ${name}: ${found.join("; ")}`);
	return Number(found[0]?.split(" ").at(-1) ?? 0);
}

export interface TestServer {
	readonly server: Server;
	readonly port: number;
	readonly address: string;
}

/** A real HTTP server on `port` (0: any), closed at the end of the test. */
export async function httpServer(t: TestContext, handle: RequestListener, port = 0): Promise<TestServer> {
	const server = createServer(handle);
	// Above the sidecar's own idle time, as the documentation tells everybody to set it.
	server.keepAliveTimeout = 65_000;
	t.after(() => {
		server.close();
		server.closeAllConnections();
	});
	await new Promise<void>((resolve, reject) => {
		server.once("error", reject);
		server.listen(port, "127.0.0.1", resolve);
	});
	const bound = (server.address() as AddressInfo).port;
	return { server, port: bound, address: `127.0.0.1:${bound}` };
}

/** Answers with its name and what it received. */
export function echo(name: string): RequestListener {
	return (req, res) => {
		const chunks: Buffer[] = [];
		req.on("data", (chunk: Buffer) => chunks.push(chunk));
		req.on("end", () => {
			const text = JSON.stringify({ by: name, method: req.method, url: req.url, headers: req.headers, body: Buffer.concat(chunks).toString() });
			res.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
		});
	};
}

export interface Echoed {
	readonly by: string;
	readonly method: string;
	readonly url: string;
	readonly headers: Record<string, string>;
	readonly body: string;
}
