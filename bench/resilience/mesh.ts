/** The instances of the service as real processes, and everything that can befall them. */
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { requestOnce } from "../client.ts";
import type { Child, Workspace } from "../processes.ts";
import { waitUntil } from "../wait.ts";
import { type Action, SLOW_FACTOR, type Step } from "./scenarios.ts";
import { controlPath, HEALTH_PATH, type Manner, type ServiceOptions } from "./service-options.ts";

const USUAL: Manner = { latencyFactor: 1, failureRate: 0 };
const BODY_BYTES = 100;
const HOST = "127.0.0.1";
// Below the ports that the system gives to outgoing connections (32,768 and up on Linux): while an instance is down nobody else may get its
// port, and a connection to a port of that range can even reach itself.
const PORTS_FROM = 21_000;
const PORTS_TO = 31_000;

interface Instance {
	readonly options: ServiceOptions;
	child: Child;
}

export class Mesh {
	readonly #workspace: Workspace;
	readonly #core: number;
	readonly #instances: Instance[];

	private constructor(workspace: Workspace, core: number, instances: Instance[]) {
		this.#workspace = workspace;
		this.#core = core;
		this.#instances = instances;
	}

	/** Starts `count` instances and resolves when all answer. */
	static async start(workspace: Workspace, core: number, count: number, latencyMs: number): Promise<Mesh> {
		const ports = await lastingPorts(count);
		const instances = await Promise.all(
			ports.map(async (port, i): Promise<Instance> => {
				const options: ServiceOptions = { port, latencyMs, bodyBytes: BODY_BYTES, seed: i + 1 };
				return { options, child: await startInstance(workspace, core, options) };
			}),
		);
		return new Mesh(workspace, core, instances);
	}

	get addresses(): string[] {
		return this.#instances.map(({ options }) => `${HOST}:${options.port}`);
	}

	/** Resolves when it has been done: a started instance answers. */
	async act({ endpoint, action }: Pick<Step, "endpoint" | "action">): Promise<void> {
		const instance = this.#instances[endpoint];
		if (instance === undefined) throw new RangeError(`there is no instance ${endpoint}`);
		await this.#act(instance, action);
	}

	/** As at the start, whatever a scenario has left behind. */
	async restore(): Promise<void> {
		for (const instance of this.#instances) {
			if (!instance.child.running) await this.#act(instance, "start");
			instance.child.signal("SIGCONT");
			await this.#act(instance, "heal");
		}
	}

	/** A stopped process cannot end by itself. */
	async close(): Promise<void> {
		for (const { child } of this.#instances) {
			child.signal("SIGCONT");
			await this.#workspace.stop(child);
		}
	}

	async #act(instance: Instance, action: Action): Promise<void> {
		const { child, options } = instance;
		switch (action) {
			case "kill":
				child.signal("SIGKILL");
				return child.exited;
			case "start":
				instance.child = await startInstance(this.#workspace, this.#core, options);
				return;
			case "restart":
				await this.#workspace.stop(child);
				instance.child = await startInstance(this.#workspace, this.#core, options);
				return;
			case "pause":
				return child.signal("SIGSTOP");
			case "resume":
				return child.signal("SIGCONT");
			case "slow":
				return tell(options.port, { ...USUAL, latencyFactor: SLOW_FACTOR });
			case "fail":
				return tell(options.port, { ...USUAL, failureRate: 1 });
			case "heal":
				return tell(options.port, USUAL);
		}
	}
}

async function startInstance(workspace: Workspace, core: number, options: ServiceOptions): Promise<Child> {
	const program = fileURLToPath(new URL("service.ts", import.meta.url));
	const child = await workspace.start(`service-${options.port}`, core, { command: process.execPath, args: [program, JSON.stringify(options)] });
	await waitUntil(async () => (await requestOnce(options.port, { host: HOST, path: HEALTH_PATH })).status === 200, child);
	return child;
}

async function tell(port: number, manner: Manner): Promise<void> {
	const { status } = await requestOnce(port, { method: "POST", host: HOST, path: controlPath(manner) });
	if (status !== 200) throw new Error(`the instance on port ${port} did not take ${JSON.stringify(manner)}: ${status}`);
}

/** Free now, and not handed out by the system later. */
async function lastingPorts(count: number): Promise<number[]> {
	const ports: number[] = [];
	// From a place of its own for each run, so that two runs at a time hardly meet.
	let port = PORTS_FROM + (process.pid % (PORTS_TO - PORTS_FROM - 1000));
	while (ports.length < count && port < PORTS_TO) {
		if (await isFree(port)) ports.push(port);
		port++;
	}
	if (ports.length < count) throw new Error(`no ${count} free ports below ${PORTS_TO}`);
	return ports;
}

function isFree(port: number): Promise<boolean> {
	return new Promise((resolve) => {
		const server = createServer();
		server.once("error", () => resolve(false));
		server.listen(port, HOST, () => server.close(() => resolve(true)));
	});
}
