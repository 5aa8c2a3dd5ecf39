/** Nexus with an authority and two services of a mesh, each a real process: `checkout` calls `payments`. And 200 clients who count what goes wrong. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { eventually, freePorts, NexusProcess, temporaryFolder } from "../../support/processes.ts";
import { echo, httpServer } from "../support.ts";

const CLIENTS = 200;
/** 2,000 requests a second: enough that each moment has some, and that a busy machine keeps up. */
const PAUSE_MS = 100;

export interface JoinedMesh {
	readonly folder: string;
	/** Admin APIs. */
	readonly payments: string;
	readonly checkout: string;
	/** Where applications of `checkout` send their requests. */
	readonly outboundPort: number;
	readonly processes: readonly NexusProcess[];
	startNexus(): Promise<NexusProcess>;
	/** A command of an operator; resolves with what it printed. */
	operate(...command: string[]): Promise<string>;
}

export async function startJoinedMesh(t: TestContext, certificateTtl: string): Promise<JoinedMesh> {
	const folder = temporaryFolder(t, "mesh");
	const [nexusPort = 0, paymentsAdmin = 0, inboundPort = 0, checkoutAdmin = 0, outboundPort = 0] = await freePorts(5);
	const nexusUrl = `https://127.0.0.1:${nexusPort}`;
	const { address } = await httpServer(t, echo("payments"));
	const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
	const head = (service: string, admin: number): string =>
		`service: ${service}\nadmin: { listen: 127.0.0.1:${admin} }\nnexus: { url: "${nexusUrl}" }\nidentity: { nexus: { tokenFile: ./${service}.token } }\naccessLog: {}\n`;
	write("nexus.yaml", `listen: 127.0.0.1:${nexusPort}\ndata: ./data\nauthority: { dir: ./certs, certificateTtl: ${certificateTtl} }\n`);
	write("payments.yaml", `${head("payments", paymentsAdmin)}inbound: { listen: 127.0.0.1:${inboundPort}, application: ${address} }\n`);
	// What a busy machine takes long for is not what is tested: a request waits for a connection longer than by default.
	write(
		"checkout.yaml",
		`${head("checkout", checkoutAdmin)}outbound: { listen: 127.0.0.1:${outboundPort} }\nupstreams: { payments: { endpoints: [{ address: 127.0.0.1:${inboundPort} }], pool: { pendingTimeout: 10s } } }\n`,
	);
	const processes: NexusProcess[] = [];
	const start = (...args: string[]): NexusProcess => {
		const process = new NexusProcess(t, args, { cwd: folder });
		processes.push(process);
		return process;
	};
	const run = async (...args: string[]): Promise<string> => {
		const process = start(...args);
		const { code } = await process.ended;
		assert.equal(code, 0, `nexus ${args.join(" ")}: ${process.stderr}`);
		return process.stdout;
	};
	const mesh: JoinedMesh = {
		folder,
		payments: `http://127.0.0.1:${paymentsAdmin}`,
		checkout: `http://127.0.0.1:${checkoutAdmin}`,
		outboundPort,
		processes,
		async startNexus() {
			const process = start("serve", "--config", "nexus.yaml");
			await process.said(/nexus ready at/);
			return process;
		},
		operate: (...command) => run(...command, "--url", nexusUrl, "--ca", "certs/ca.pem", "--token-file", "data/operator.token"),
	};
	await run("ca", "init");
	await mesh.startNexus();
	for (const service of ["payments", "checkout"]) {
		await mesh.operate("token", "create", "--service", service, "--out", `${service}.token`);
		start("sidecar", "--config", `${service}.yaml`);
	}
	await eventually("both sidecars are ready", async () => (await isReady(mesh.payments)) && isReady(mesh.checkout));
	return mesh;
}

async function isReady(admin: string): Promise<boolean> {
	const response = await fetch(`${admin}/readyz`).catch(() => undefined);
	await response?.body?.cancel();
	return response?.status === 200;
}

/** `GET /identity` of a sidecar, as far as tests ask about it. */
export interface IdentityPage {
	readonly identity: {
		readonly certificate: { readonly serial: string; readonly issuer: string };
		readonly bundle: { readonly version: number; readonly roots: readonly { readonly fingerprint: string }[] };
		readonly renewals: { readonly renewed: number; readonly failed: number };
	};
}

export async function identityOf(admin: string): Promise<IdentityPage["identity"]> {
	return ((await (await fetch(`${admin}/identity`)).json()) as IdentityPage).identity;
}

export interface Answer {
	readonly status: number;
	readonly reason: string;
	readonly text: string;
}

export class Crowd {
	readonly #agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
	readonly #port: number;
	#running = true;
	readonly #clients: Promise<void>[];
	answered = 0;
	/** How often by status and reason, with the words of the last one. */
	readonly failures = new Map<string, { count: number; text: string }>();

	constructor(t: TestContext, mesh: JoinedMesh) {
		t.after(() => this.stop());
		this.#port = mesh.outboundPort;
		this.#clients = Array.from({ length: CLIENTS }, (_, i) => this.#run(i));
	}

	/** Resolves once every client has its last answer. */
	async stop(): Promise<void> {
		this.#running = false;
		await Promise.all(this.#clients);
		this.#agent.destroy();
	}

	ask(path: string, body?: string): Promise<Answer> {
		return new Promise((resolve) => {
			const failed = (error: Error): void => resolve({ status: 0, reason: error.message, text: "" });
			const method = body === undefined ? "GET" : "POST";
			const req = request({ host: "127.0.0.1", port: this.#port, path, method, headers: { host: "payments" }, agent: this.#agent }, (res) => {
				let text = "";
				res.setEncoding("latin1");
				res.on("data", (part: string) => {
					text += part;
				});
				res.on("end", () => resolve({ status: res.statusCode ?? 0, reason: String(res.headers["x-nexus-reason"] ?? ""), text }));
				res.on("error", failed);
			});
			req.on("error", failed);
			req.end(body);
		});
	}

	async #run(i: number): Promise<void> {
		while (this.#running) {
			// Every fourth may not be sent twice.
			const { status, reason, text } = await this.ask(`/${i}`, i % 4 === 0 ? "body" : undefined);
			if (status === 200) this.answered++;
			else {
				const key = `${status} ${reason}`;
				this.failures.set(key, { count: (this.failures.get(key)?.count ?? 0) + 1, text });
			}
			await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
		}
	}
}
