/** How a local mesh looks in a terminal or in a pipe: the table, what to try, the live line. Only makes text. */
import { relative } from "node:path";
import type { CliIo } from "./io.ts";
import type { Mesh } from "./up-mesh.ts";
import { quantileMs, type ServiceTraffic, type StoredEvent, serviceOf } from "./up-watch.ts";

const HOST = "127.0.0.1";
const DEFAULT_NEXUS_PORT = 7400;

export interface Paths {
	readonly logs: string;
	/** What a person types to start our program here. */
	readonly program: string;
}

export function table(mesh: Mesh): string {
	const header = ["service", "application", "sidecar in", "sidecar out", "admin"];
	const rows = mesh.services.map(({ name, ports }) => [
		name,
		...["APP_PORT", "INBOUND_PORT", "OUTBOUND_PORT", "ADMIN_PORT"].map((variable) => {
			const port = ports.get(variable);
			return port === undefined ? "-" : `${HOST}:${port}`;
		}),
	]);
	const nexus = ["nexus", `${HOST}:${mesh.nexusPort}`, "", "", ""];
	const widths = header.map((_, column) => Math.max(...[header, ...rows, nexus].map((row) => row[column]?.length ?? 0)));
	return [header, ...rows, nexus]
		.map(
			(row) =>
				`  ${row
					.map((cell, column) => cell.padEnd(widths[column] ?? 0))
					.join("  ")
					.trimEnd()}\n`,
		)
		.join("");
}

export function whatToTry(mesh: Mesh, { logs, program }: Paths): string {
	const { port: nexusPort, flag } = {
		port: mesh.nexusPort,
		flag: mesh.nexusPort === DEFAULT_NEXUS_PORT ? "" : ` --url http://${HOST}:${mesh.nexusPort}`,
	};
	const example =
		mesh.services.find(
			({ ports }) => ports.has("OUTBOUND_PORT") && mesh.services.length > 1 && ports.get("INBOUND_PORT") !== portOf(mesh.traffic.url),
		) ?? mesh.services[0];
	const file = example === undefined ? "" : relative(process.cwd(), example.policyFile);
	const admin = example?.ports.get("ADMIN_PORT");
	const lines: [command: string, meaning: string][] = [
		[`curl -i ${mesh.traffic.url}`, "one request through the whole mesh"],
		[`${program} events --follow${flag}`, "what happens, as it happens"],
		[`curl ${HOST}:${admin}/upstreams`, `whom ${example?.name} calls, and how they are`],
		[`${program} tap http://${HOST}:${admin}`, "why each request goes as it goes, live"],
		[`curl '${HOST}:${nexusPort}/v1/events?limit=3&order=desc'`, "the events as Nexus keeps them"],
		[`edit ${file}`, "takes effect when saved; with a fault in it nothing changes, and the fault shows below"],
		[`tail -f ${logs}/*.log`, "logs and access logs"],
	];
	const width = Math.max(...lines.map(([command]) => command.length));
	return `Try in another terminal:\n${lines.map(([command, meaning]) => `  ${command.padEnd(width)}  ${meaning}\n`).join("")}`;
}

function portOf(url: string): number {
	return Number(new URL(url).port);
}

export interface Seen {
	/** Inbound, by service, in the order in which they are shown. */
	readonly traffic: readonly (readonly [service: string, traffic: ServiceTraffic])[];
	readonly seconds: number;
	/** All so far. */
	readonly events: number;
	/** Requests of the steady load without any answer, all so far. */
	readonly unanswered: number;
}

/** One line: requests a second of each service, the share that failed, latency. Three services fit 80 columns. */
export function liveLine({ traffic, seconds, events, unanswered }: Seen): string {
	const parts = traffic.length === 0 ? ["no traffic"] : traffic.map(([name, service]) => serviceText(name, service, seconds));
	if (unanswered > 0) parts.push(`${unanswered} unanswered`);
	return [...parts, `${events} events`].join("  ");
}

/** As the mesh file lists them, whose names may count instances (payments-1) where events know the service (payments). */
export function inMeshOrder({ services }: Mesh, traffic: ReadonlyMap<string, ServiceTraffic>): (readonly [string, ServiceTraffic])[] {
	const place = (service: string): number => services.findIndex(({ name }) => name === service || name.startsWith(`${service}-`));
	return [...traffic].sort(([a], [b]) => place(a) - place(b));
}

function serviceText(name: string, traffic: ServiceTraffic, seconds: number): string {
	const failed = traffic.failed === 0 ? "" : ` ${Math.round((traffic.failed / traffic.requests) * 100)}% failed`;
	const rate = traffic.requests / seconds;
	return `${name} ${rate < 1 ? rate.toFixed(1) : Math.round(rate)}/s${failed} p99<${ms(quantileMs(traffic, 0.99))}`;
}

function ms(value: number | undefined): string {
	if (value === undefined) return "-";
	return value === Number.POSITIVE_INFINITY ? "inf" : `${value}ms`;
}

/** One event on one line, without the prefix that all share. */
export function eventLine({ event }: StoredEvent): string {
	const time = event.time === undefined ? "" : `${new Date(event.time).toTimeString().slice(0, 8)} `;
	return `${time}${serviceOf(event.source)} ${event.type.replace(/^nexus\.(mesh\.)?/, "")}${describeData(event.type, event.data)}`;
}

function describeData(type: string, data: unknown): string {
	if (typeof data !== "object" || data === null) return "";
	if ("faults" in data && Array.isArray(data.faults)) {
		return data.faults
			.map(
				(fault: { place?: unknown; message?: unknown; hint?: unknown }) =>
					`\n    ${fault.place}: ${fault.message}${fault.hint ? ` (${fault.hint})` : ""}`,
			)
			.join("");
	}
	const record = data as Record<string, unknown>;
	const keys = [
		"dependency",
		"upstream",
		"endpoint",
		"limit",
		"fault",
		"change",
		"version",
		"hash",
		"cause",
		...(type.endsWith(".unhealthy") ? ["lastError"] : []),
	];
	const told = keys.map((key) => record[key]).filter((value) => value !== undefined && value !== "");
	return told.length === 0 ? "" : ` ${told.join(" ")}`;
}

/** Lines above, and in a terminal one line below that is drawn over again and again. */
export class LiveScreen {
	readonly #io: CliIo;
	#line = "";

	constructor(io: CliIo) {
		this.#io = io;
	}

	/** Stays. */
	print(text: string): void {
		this.#erase();
		this.#io.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
		this.#draw();
	}

	/** Replaces the line before; where output is no terminal each one stays. */
	show(line: string): void {
		if (!this.#io.stdout.isTTY) return void this.#io.stdout.write(`${line}\n`);
		this.#erase();
		this.#line = line;
		this.#draw();
	}

	/** Leaves the last line where it is. */
	end(): void {
		if (this.#line !== "") this.#io.stdout.write("\n");
		this.#line = "";
	}

	#erase(): void {
		if (this.#line !== "") this.#io.stdout.write("\r\x1b[K");
	}

	#draw(): void {
		// A line that wraps could not be erased by one carriage return.
		if (this.#line !== "") this.#io.stdout.write(this.#line.slice(0, Math.max(0, this.#io.stdout.columns - 1)));
	}
}
