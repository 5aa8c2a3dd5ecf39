/** A real Nexus and real sidecars of one service, an origin behind them, and callers that count what they get. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { freePorts, NexusProcess, temporaryFolder } from "../../support/processes.ts";
import { spawnNexus } from "../nexus-process.ts";

export interface TestNexus {
	readonly url: string;
	call<T>(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<{ status: number; body: T }>;
	/** SIGKILL, and again on the same port with the same data. */
	killAndRestart(): Promise<void>;
	kill(): Promise<void>;
	restart(): Promise<void>;
}

export async function startNexus(t: TestContext): Promise<TestNexus> {
	const data = temporaryFolder(t, "policies");
	const [port = 0] = await freePorts(1);
	const args = ["--listen", `127.0.0.1:${port}`, "--data", data];
	let running = await spawnNexus(args);
	t.after(() => running.stop("SIGKILL"));
	const url = `http://127.0.0.1:${port}`;
	const nexus: TestNexus = {
		url,
		async call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
			const response = await fetch(url + path, {
				method,
				headers: { "content-type": "application/json", ...headers },
				...(body === undefined ? {} : { body: JSON.stringify(body) }),
			});
			const text = await response.text();
			return { status: response.status, body: (text === "" ? undefined : JSON.parse(text)) as T };
		},
		async kill() {
			await running.stop("SIGKILL");
		},
		async restart() {
			running = await spawnNexus(args);
		},
		async killAndRestart() {
			await nexus.kill();
			await nexus.restart();
		},
	};
	return nexus;
}

export interface TestSidecar {
	readonly process: NexusProcess;
	readonly folder: string;
	port(listener: string): number;
	config(): Promise<{ nexus?: { version: number }; rejected: { faults: { place: string; message: string }[] } | null }>;
}

/** `policy`: YAML besides service, admin and nexus. `folder`: of one that was there before. */
export async function startSidecar(
	t: TestContext,
	service: string,
	nexus: Pick<TestNexus, "url">,
	policy: string,
	folder = temporaryFolder(t, "sidecar"),
): Promise<TestSidecar> {
	const file = join(folder, "policy.yaml");
	writeFileSync(file, `service: ${service}\nadmin: { listen: 127.0.0.1:0 }\ndrainTimeout: 1s\nnexus: { url: "${nexus.url}"${policy}`);
	const process = new NexusProcess(t, ["sidecar", "--config", file]);
	await process.said(/"message":"ready"/, "stderr");
	const port = (listener: string): number => {
		const found = new RegExp(`"${listener}":"127\\.0\\.0\\.1:(\\d+)"`).exec(process.stderr);
		assert.ok(found !== null, process.stderr);
		return Number(found[1]);
	};
	return {
		process,
		folder,
		port,
		async config() {
			return (await (await fetch(`http://127.0.0.1:${port("admin")}/config`)).json()) as never;
		},
	};
}

export interface Callers {
	/** Answers by status, and by the code of an error; since the last time that it was asked. */
	take(): Map<string, number>;
	stop(): Promise<void>;
}

/** One request after the other through each of the outbound ports, for as long as it is not stopped. */
export function callers(t: TestContext, ports: readonly number[], host: string, eachMs = 5): Callers {
	let results = new Map<string, number>();
	let isOver = false;
	const agent = new Agent({ keepAlive: true });
	const count = (result: string): void => void results.set(result, (results.get(result) ?? 0) + 1);
	const loops = ports.map(async (port) => {
		while (!isOver) {
			count(await once(agent, port, host));
			await new Promise((resolve) => setTimeout(resolve, eachMs));
		}
	});
	const stop = async (): Promise<void> => {
		isOver = true;
		await Promise.all(loops);
		agent.destroy();
	};
	t.after(stop);
	return {
		take() {
			const taken = results;
			results = new Map();
			return taken;
		},
		stop,
	};
}

function once(agent: Agent, port: number, host: string): Promise<string> {
	return new Promise((resolve) => {
		const sent = request({ agent, host: "127.0.0.1", port, path: "/", headers: { host } }, (response) => {
			response.resume();
			response.once("end", () => resolve(String(response.statusCode)));
			response.once("error", (error) => resolve(error.message));
		});
		sent.once("error", (error) => resolve(error.message));
		sent.end();
	});
}

export interface Status {
	readonly current: number;
	readonly latest: number;
	readonly rollout: { version: number; stage: string; instances: string[] } | null;
	readonly lastRollout: { version: number; state: string; reason: string } | null;
	readonly instances: {
		instance: string;
		version: number;
		since: string | null;
		wanted: number;
		state: string;
		rejected: { version: number; faults: { place: string; message: string; hint: string }[] } | null;
	}[];
}

export async function statusOf(nexus: TestNexus, service: string): Promise<Status> {
	return (await nexus.call<Status>("GET", `/v1/policies/${service}/status`)).body;
}
