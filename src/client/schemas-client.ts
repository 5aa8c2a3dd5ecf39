/** Schemas of event types, and the events that violate them, as a client sees them. */
import { errorOf } from "./nexus-error.ts";
import type { Transport, TransportRequest } from "./transport.ts";

export interface SchemaInfo {
	readonly type: string;
	readonly version: number;
	readonly compatibility: "backward" | "forward" | "full" | "none";
	readonly onViolation: "refuse" | "park";
	readonly isBuiltIn: boolean;
	readonly createdAt: string | null;
	readonly createdBy: string;
}

export interface EventSchema extends SchemaInfo {
	readonly schema: unknown;
}

export interface SchemaPut {
	/** JSON Schema 2020-12 of `data`. */
	readonly schema: unknown;
	readonly compatibility?: SchemaInfo["compatibility"];
	readonly onViolation?: SchemaInfo["onViolation"];
}

export interface ParkedEvent {
	readonly key: string;
	readonly type: string;
	readonly source: string;
	readonly id: string;
	readonly reason: string;
	readonly parkedAt: string;
	readonly event: unknown;
}

export interface ReplayReport {
	readonly recovered: number;
	readonly stillFailed: number;
	readonly failures: readonly { readonly key: string; readonly reason: string }[];
}

/** Each call rejects with a NexusError where it is refused. */
export class SchemasClient {
	readonly #transport: Transport;

	constructor(transport: Transport) {
		this.#transport = transport;
	}

	async list(): Promise<readonly SchemaInfo[]> {
		return (await this.#json<{ schemas: SchemaInfo[] }>("/v1/schemas")).schemas;
	}

	get(type: string, version?: number): Promise<EventSchema> {
		return this.#json(version === undefined ? pathOf(type) : `${pathOf(type)}/versions/${version}`);
	}

	async versions(type: string): Promise<readonly EventSchema[]> {
		return (await this.#json<{ versions: EventSchema[] }>(`${pathOf(type)}/versions`)).versions;
	}

	put(type: string, put: SchemaPut): Promise<EventSchema> {
		return this.#json(pathOf(type), jsonRequest("PUT", put));
	}

	delete(type: string): Promise<void> {
		return this.#json(pathOf(type), { method: "DELETE" });
	}

	parked(query: { readonly type?: string; readonly after?: string; readonly limit?: number } = {}): Promise<{
		readonly events: readonly ParkedEvent[];
		readonly next: string | null;
	}> {
		const params = new URLSearchParams();
		for (const [name, value] of Object.entries(query)) params.set(name, String(value));
		return this.#json(`/v1/parked-events?${params}`);
	}

	replayParked(which: { readonly keys?: readonly string[]; readonly type?: string; readonly limit?: number } = {}): Promise<ReplayReport> {
		return this.#json("/v1/parked-events/replay", jsonRequest("POST", which));
	}

	deleteParked(key: string): Promise<void> {
		return this.#json(`/v1/parked-events/${key}`, { method: "DELETE" });
	}

	async #json<T>(path: string, request?: TransportRequest): Promise<T> {
		const response = await this.#transport.send(path, request);
		if (!response.ok) throw await errorOf(response);
		const text = await response.text();
		return (text === "" ? undefined : JSON.parse(text)) as T;
	}
}

function pathOf(type: string): string {
	return `/v1/schemas/${encodeURIComponent(type)}`;
}

function jsonRequest(method: string, body: unknown): TransportRequest {
	return { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}
