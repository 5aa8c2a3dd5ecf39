/** Schemas of event types, as a client sees them. */
import { type CallOptions, type JsonCalls, path } from "./json-calls.ts";

export interface SchemaInfo {
	readonly type: string;
	readonly version: number;
	readonly compatibility: "backward" | "forward" | "full" | "none";
	readonly onViolation: "refuse" | "park";
	readonly isBuiltIn: boolean;
	/** Null for what is built in. */
	readonly createdAt: string | null;
	readonly createdBy: string;
}

export interface EventSchema extends SchemaInfo {
	readonly schema: JsonSchema;
}

/** JSON Schema 2020-12 of `data`. */
export type JsonSchema = boolean | Readonly<Record<string, unknown>>;

/** What is left out stays as it was. */
export interface SchemaPut {
	readonly schema: JsonSchema;
	readonly compatibility?: SchemaInfo["compatibility"];
	readonly onViolation?: SchemaInfo["onViolation"];
}

/** Each call rejects with a NexusError where it is refused. */
export class SchemasClient {
	readonly #calls: JsonCalls;

	constructor(calls: JsonCalls) {
		this.#calls = calls;
	}

	/** The latest of each type. */
	list(options: CallOptions = {}): Promise<readonly SchemaInfo[]> {
		return this.#calls.all("/v1/schemas", "schemas", options);
	}

	/** `version`: an earlier one. */
	get(type: string, { version, ...options }: CallOptions & { readonly version?: number } = {}): Promise<EventSchema> {
		return this.#calls.json(version === undefined ? path`/v1/schemas/${type}` : path`/v1/schemas/${type}/versions/${version}`, options);
	}

	async versions(type: string, options: CallOptions = {}): Promise<readonly EventSchema[]> {
		return (await this.#calls.json<{ versions: readonly EventSchema[] }>(path`/v1/schemas/${type}/versions`, options)).versions;
	}

	/** Rejects with status 409, `incompatible_schema`, where the change would break somebody: `problem.faults` says where. */
	put(type: string, put: SchemaPut, options: CallOptions = {}): Promise<EventSchema> {
		return this.#calls.json(path`/v1/schemas/${type}`, { ...options, method: "PUT", body: put });
	}

	/** All versions; events of this type are not judged any more. */
	async delete(type: string, options: CallOptions = {}): Promise<void> {
		await this.#calls.json(path`/v1/schemas/${type}`, { ...options, method: "DELETE" });
	}
}
