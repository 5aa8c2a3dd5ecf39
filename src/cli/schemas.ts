/** `nexus schemas list`, `show`, `put`, `delete` and `parked`. */
import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { type ParkedEvent, type SchemaInfo, SchemasClient } from "../client/schemas-client.ts";
import { messageOf } from "../core/errors.ts";
import { withApi } from "./ca.ts";
import type { CliIo } from "./io.ts";
import { type NexusFlags, NexusRefusal } from "./nexus-api.ts";
import { shortTime, tableText } from "./table.ts";

export interface ShowFlags extends NexusFlags {
	/** JSON in a terminal as well; a pipe always gets it. */
	readonly json?: boolean;
}

export function runSchemasList({ json, ...flags }: ShowFlags, io: CliIo): Promise<number> {
	return withSchemas("list", flags, io, async (client) => {
		const schemas = await client.list();
		if (json === true || !io.stdout.isTTY) io.stdout.write(`${JSON.stringify({ schemas })}\n`);
		else io.stdout.write(tableText(["TYPE", "VERSION", "COMPATIBILITY", "VIOLATIONS", "SINCE", "BY"], schemas.map(schemaRow)));
	});
}

export function runSchemasShow(type: string, { version, ...flags }: NexusFlags & { readonly version?: number }, io: CliIo): Promise<number> {
	return withSchemas("show", flags, io, async (client) => {
		const { schema } = await client.get(type, version);
		io.stdout.write(`${JSON.stringify(schema, undefined, io.stdout.isTTY ? 2 : undefined)}\n`);
	});
}

export interface PutFlags extends NexusFlags {
	readonly compatibility?: SchemaInfo["compatibility"];
	readonly onViolation?: SchemaInfo["onViolation"];
}

/** `file`: - for standard input. */
export function runSchemasPut(type: string, file: string, { compatibility, onViolation, ...flags }: PutFlags, io: CliIo): Promise<number> {
	return withSchemas("put", flags, io, async (client) => {
		const schema = await readSchema(file);
		const kept = await client.put(type, { schema, ...(compatibility && { compatibility }), ...(onViolation && { onViolation }) });
		io.stdout.write(`${kept.type} has version ${kept.version} (${kept.compatibility}; violations: ${kept.onViolation})\n`);
	});
}

export function runSchemasDelete(type: string, flags: NexusFlags, io: CliIo): Promise<number> {
	return withSchemas("delete", flags, io, async (client) => {
		await client.delete(type);
		io.stdout.write(`events of ${type} are not judged any more\n`);
	});
}

export interface ParkedFlags extends ShowFlags {
	readonly type?: string;
	readonly replay?: boolean;
}

export function runSchemasParked({ type, replay, json, ...flags }: ParkedFlags, io: CliIo): Promise<number> {
	return withSchemas("parked", flags, io, async (client) => {
		const which = type === undefined ? {} : { type };
		const asJson = json === true || !io.stdout.isTTY;
		if (replay === true) {
			const report = await client.replayParked(which);
			if (asJson) io.stdout.write(`${JSON.stringify(report)}\n`);
			else {
				io.stdout.write(`${report.recovered} are in the log now, ${report.stillFailed} still wait\n`);
				io.stdout.write(report.failures.map(({ key, reason }) => `  ${key}: ${reason}\n`).join(""));
			}
			return;
		}
		const parked: ParkedEvent[] = [];
		for (let after: string | undefined; ; ) {
			const page = await client.parked({ ...which, ...(after === undefined ? {} : { after }) });
			parked.push(...page.events);
			if (page.next === null) break;
			after = page.next;
		}
		if (asJson) for (const event of parked) io.stdout.write(`${JSON.stringify(event)}\n`);
		else io.stdout.write(tableText(["PARKED", "TYPE", "SOURCE", "ID", "WHY"], parked.map(parkedRow)));
	});
}

function withSchemas(command: string, flags: NexusFlags, io: CliIo, act: (client: SchemasClient) => Promise<void>): Promise<number> {
	return withApi(`schemas ${command}`, flags, io, async (api) => {
		await act(new SchemasClient(api));
		return 0;
	});
}

function schemaRow({ type, version, compatibility, onViolation, isBuiltIn, createdAt, createdBy }: SchemaInfo): string[] {
	return [type, String(version), compatibility, onViolation, isBuiltIn ? "built in" : shortTime(createdAt), createdBy];
}

function parkedRow({ parkedAt, type, source, id, reason }: ParkedEvent): string[] {
	return [shortTime(parkedAt), type, source, id, reason];
}

async function readSchema(file: string): Promise<unknown> {
	let json: string;
	try {
		json = file === "-" ? await text(process.stdin) : await readFile(file, "utf8");
	} catch (thrown) {
		throw new NexusRefusal(`${file} cannot be read: ${messageOf(thrown)}`, 0, "");
	}
	try {
		return JSON.parse(json);
	} catch (thrown) {
		throw new NexusRefusal(`${file} is not JSON: ${messageOf(thrown)}`, 0, "");
	}
}
