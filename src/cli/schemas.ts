/** `nexus schemas list`, `show`, `put`, `delete` and `parked`. */
import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import type { JsonSchema, NexusClient, ParkedEvent, SchemaInfo } from "../client/nexus-client.ts";
import { messageOf } from "../core/errors.ts";
import { safeJson } from "./event-line.ts";
import type { CliIo } from "./io.ts";
import { CommandRefused, type NexusFlags, withNexus } from "./nexus-api.ts";
import { shortTime, tableText } from "./table.ts";

export interface ShowFlags extends NexusFlags {
	/** JSON in a terminal as well; a pipe always gets it. */
	readonly json?: boolean;
}

export function runSchemasList({ json, ...flags }: ShowFlags, io: CliIo): Promise<number> {
	return withClient("list", flags, io, async (client) => {
		const schemas = await client.schemas.list();
		if (json === true || !io.stdout.isTTY) io.stdout.write(`${JSON.stringify({ schemas })}\n`);
		else io.stdout.write(tableText(["TYPE", "VERSION", "COMPATIBILITY", "VIOLATIONS", "SINCE", "BY"], schemas.map(schemaRow)));
	});
}

export function runSchemasShow(type: string, { version, ...flags }: NexusFlags & { readonly version?: number }, io: CliIo): Promise<number> {
	return withClient("show", flags, io, async (client) => {
		const { schema } = await client.schemas.get(type, version === undefined ? {} : { version });
		io.stdout.write(`${JSON.stringify(schema, undefined, io.stdout.isTTY ? 2 : undefined)}\n`);
	});
}

export interface PutFlags extends NexusFlags {
	readonly compatibility?: SchemaInfo["compatibility"];
	readonly onViolation?: SchemaInfo["onViolation"];
}

/** `file`: - for standard input. */
export function runSchemasPut(type: string, file: string, { compatibility, onViolation, ...flags }: PutFlags, io: CliIo): Promise<number> {
	return withClient("put", flags, io, async (client) => {
		const schema = await readSchema(file);
		const kept = await client.schemas.put(type, { schema, ...(compatibility && { compatibility }), ...(onViolation && { onViolation }) });
		io.stdout.write(`${kept.type} has version ${kept.version} (${kept.compatibility}; violations: ${kept.onViolation})\n`);
	});
}

export function runSchemasDelete(type: string, flags: NexusFlags, io: CliIo): Promise<number> {
	return withClient("delete", flags, io, async (client) => {
		await client.schemas.delete(type);
		io.stdout.write(`events of ${type} are not judged any more\n`);
	});
}

export interface ParkedFlags extends ShowFlags {
	readonly type?: string;
	readonly replay?: boolean;
}

export function runSchemasParked({ type, replay, json, ...flags }: ParkedFlags, io: CliIo): Promise<number> {
	return withClient("parked", flags, io, async ({ parkedEvents }) => {
		const which = type === undefined ? {} : { type };
		const asJson = json === true || !io.stdout.isTTY;
		if (replay === true) {
			const report = await parkedEvents.replay(which);
			if (asJson) io.stdout.write(`${JSON.stringify(report)}\n`);
			else {
				io.stdout.write(`${report.recovered} are in the log now, ${report.stillFailed} still wait\n`);
				io.stdout.write(report.failures.map(({ key, reason }) => `  ${key}: ${reason}\n`).join(""));
			}
			return;
		}
		const parked: ParkedEvent[] = [];
		for await (const event of parkedEvents.list(which)) parked.push(event);
		if (asJson) for (const event of parked) io.stdout.write(`${safeJson(event)}\n`);
		else io.stdout.write(tableText(["PARKED", "TYPE", "SOURCE", "ID", "WHY"], parked.map(parkedRow)));
	});
}

function withClient(command: string, flags: NexusFlags, io: CliIo, act: (client: NexusClient) => Promise<void>): Promise<number> {
	return withNexus(`schemas ${command}`, flags, io, async ({ client }) => {
		await act(client);
		return 0;
	});
}

function schemaRow({ type, version, compatibility, onViolation, isBuiltIn, createdAt, createdBy }: SchemaInfo): string[] {
	return [type, String(version), compatibility, onViolation, isBuiltIn ? "built in" : shortTime(createdAt), createdBy];
}

function parkedRow({ parkedAt, type, source, id, reason }: ParkedEvent): string[] {
	return [shortTime(parkedAt), type, source, id, reason];
}

async function readSchema(file: string): Promise<JsonSchema> {
	let json: string;
	try {
		json = file === "-" ? await text(process.stdin) : await readFile(file, "utf8");
	} catch (thrown) {
		throw new CommandRefused(`${file} cannot be read: ${messageOf(thrown)}`);
	}
	try {
		// What is no schema is for Nexus to say.
		return JSON.parse(json) as JsonSchema;
	} catch (thrown) {
		throw new CommandRefused(`${file} is not JSON: ${messageOf(thrown)}`);
	}
}
