/** How a local mesh looks in a terminal or in a pipe: the table, who gets in, the live line. Only makes text. */
import type { Snapshot } from "../policy/snapshot.ts";
import { printable } from "./event-line.ts";
import type { CliIo } from "./io.ts";
import type { Mesh } from "./up-mesh.ts";
import { quantileMs, type ServiceTraffic, type StoredEvent, serviceOf } from "./up-watch.ts";

const HOST = "127.0.0.1";
const TOLD_CHARS_MAX = 100;

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

/** Who gets in where, and by what; `policies` by name of the mesh file. */
export function encryptionText({ services }: Mesh, policies: ReadonlyMap<string, Snapshot>): string {
	const known = services.flatMap(({ name }) => policies.get(name) ?? []);
	if (known.every(({ identity }) => identity === undefined)) return "Nothing is encrypted: no policy has an `identity`.\n";
	const modes = Object.entries(WHO_GETS_IN).flatMap(([mode, who]) => {
		const names = new Set(known.filter(({ inbound }) => inbound?.tls.mode === mode).map(({ service }) => service));
		return names.size === 0 ? [] : [[mode, [...names].join(", "), who] as const];
	});
	const domain = known.find(({ identity }) => identity !== undefined)?.trustDomain;
	const width = Math.max(...modes.map(([, names]) => names.length));
	const rows = modes.map(([mode, names, who]) => `  ${mode.padEnd("permissive".length)}  ${names.padEnd(width)}  ${who}\n`).join("");
	return `Between services all is encrypted and both sides prove who they are (mutual TLS):\nspiffe://${domain}/SERVICE, by an authority of this mesh alone.\n${rows}`;
}

/** By `inbound.tls`. */
const WHO_GETS_IN = {
	strict: "only who has a certificate of the mesh",
	permissive: "visitors in plain text as well: the edge",
	off: "everybody, in plain text",
} as const;

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
					`\n    ${printable(`${fault.place}: ${fault.message}${fault.hint ? ` (${fault.hint})` : ""}`)}`,
			)
			.join("");
	}
	const record = data as Record<string, unknown>;
	if (type === "nexus.mesh.mtls.failure") return printable(` ${record.name || "cut"}: ${record.reason} x${record.count} ${record.peer}`).trimEnd();
	if (type === "nexus.mesh.authorization.denied") {
		const rule = record.kind === "rule" ? `rule ${record.rule}` : "no rule allows it";
		return printable(` ${record.caller || "unauthenticated"} ${record.method} ${record.path} x${record.count}: ${rule}`);
	}
	if (type === "nexus.audit.mutation") return printable(` ${record.actor}: ${record.method} ${record.path} (${record.status})`);
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
	return told.map((value) => ` ${cut(printable(String(value)))}`).join("");
}

/** Why an endpoint is unhealthy may be a paragraph; `nexus events` has all of it. */
function cut(text: string): string {
	return text.length <= TOLD_CHARS_MAX ? text : `${text.slice(0, TOLD_CHARS_MAX - 1)}…`;
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
