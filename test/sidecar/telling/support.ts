/** A Nexus for tests: a real HTTP server that keeps what it acknowledged and misbehaves as told. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import type { Logger } from "../../../src/core/log.ts";
import type { CloudEvent } from "../../../src/events/cloud-event.ts";
import { parseEvents } from "../../../src/events/http-binding.ts";

export type Answer = (res: ServerResponse, events: readonly CloudEvent[]) => void;

export interface TestNexus {
	url: string;
	/** Events of each request in order of arrival, whatever the answer was. */
	requests: CloudEvent[][];
	/** What it acknowledged. */
	kept: CloudEvent[];
	answer: Answer;
	stop(): Promise<void>;
	/** On the same port as before. */
	start(): Promise<void>;
}

export async function startNexus(t: TestContext): Promise<TestNexus> {
	let server: Server | undefined;
	let port = 0;
	const nexus: TestNexus = {
		url: "",
		requests: [],
		kept: [],
		answer: acknowledge,
		async stop() {
			const stopping = server;
			server = undefined;
			stopping?.closeAllConnections();
			await new Promise((resolve) => (stopping === undefined ? resolve(undefined) : stopping.close(resolve)));
		},
		async start() {
			server = createServer((req, res) => void serve(req, res));
			await new Promise<void>((resolve) => server?.listen(port, "127.0.0.1", resolve));
			port = (server.address() as AddressInfo).port;
			nexus.url = `http://127.0.0.1:${port}`;
		},
	};
	async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
		const chunks: Buffer[] = [];
		for await (const chunk of req) chunks.push(chunk as Buffer);
		const fields = req.headers as Record<string, string>;
		const parsed = parseEvents({ header: (name) => fields[name], headers: () => Object.entries(fields) }, Buffer.concat(chunks));
		if (req.method !== "POST" || req.url !== "/v1/events" || !parsed.ok) {
			res.writeHead(parsed.ok ? 404 : parsed.status).end();
			return;
		}
		const events = parsed.members.map((member) => {
			if (!member.ok) throw new Error(`sent something that is no event: ${member.reason}`);
			return member.event;
		});
		nexus.requests.push(events);
		nexus.answer(res, events);
	}
	function acknowledge(res: ServerResponse, events: readonly CloudEvent[]): void {
		nexus.kept.push(...events);
		reply(res, { accepted: events.length, duplicates: 0, rejected: [], sequence: nexus.kept.length, durability: "fdatasync" });
	}
	await nexus.start();
	t.after(() => nexus.stop());
	return nexus;
}

export function reply(res: ServerResponse, body: unknown, status = 200, headers: Record<string, string> = {}): void {
	res.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}

export function event(n: number, priority = 5, padding = 0): CloudEvent {
	return {
		specversion: "1.0",
		id: `e${n}`,
		source: "/mesh/checkout/a1",
		type: "nexus.mesh.test",
		priority,
		data: { n, padding: "x".repeat(padding) },
	};
}

export function ids(events: readonly CloudEvent[]): string[] {
	return events.map((e) => e.id);
}

export class MemoryLog implements Logger {
	readonly lines: { level: string; message: string; fields: Record<string, unknown> }[] = [];
	debug(message: string, fields = {}): void {
		this.lines.push({ level: "debug", message, fields });
	}
	info(message: string, fields = {}): void {
		this.lines.push({ level: "info", message, fields });
	}
	warn(message: string, fields = {}): void {
		this.lines.push({ level: "warn", message, fields });
	}
	error(message: string, fields = {}): void {
		this.lines.push({ level: "error", message, fields });
	}
}

/** Lets the loop turn until `done`; a test that never gets there ends by its own timeout. `turn` runs each time. */
export async function until(done: () => boolean, turn: () => void = () => {}): Promise<void> {
	while (!done()) {
		turn();
		await new Promise((resolve) => setImmediate(resolve));
	}
}
