/** The page of the docs that lists every built-in event with its data, made from the catalogue and the schemas that judge them. */
import { NEXUS_EVENT_TYPES, NEXUS_EVENTS } from "../../events/catalogue.ts";
import { BUILT_IN_SCHEMAS } from "./built-in.ts";
import { isObject, type JsonObject } from "./schema-document.ts";

/** Markdown. */
export function eventsPage(): string {
	const sections = NEXUS_EVENT_TYPES.map((type) => {
		const { priority, sentence } = NEXUS_EVENTS[type];
		const rows = memberRows(BUILT_IN_SCHEMAS[type] ?? {}, "");
		const table = ["| in `data` | type | |", "|---|---|---|", ...rows].join("\n");
		return `## \`${type}\`\n\n${sentence} Priority ${priority}.\n\n${table}\n`;
	});
	return [
		"# Events\n",
		"<!-- Made by `node docs/generate.ts` from src/nexus/schemas/built-in.ts: change it there. -->\n",
		"What sidecars and Nexus tell about themselves, as CloudEvents 1.0. `source` is `/mesh/<service>/<instance>`. Data is checked against these schemas",
		"when it arrives; further members are allowed, and what is not valid is parked beside the log (`nexus schemas parked`). The schemas themselves are",
		"at `GET /v1/schemas/TYPE`, where other types may be given schemas as well.\n",
		...sections,
	].join("\n");
}

function memberRows(schema: JsonObject, prefix: string): string[] {
	const required = Array.isArray(schema.required) ? schema.required : [];
	return Object.entries(isObject(schema.properties) ? schema.properties : {}).flatMap(([name, member]) => {
		if (!isObject(member)) return [];
		const path = `${prefix}${name}`;
		const optional = required.includes(name) ? "" : "optional; ";
		const row = `| \`${path}\` | ${typeText(member)} | ${optional}${cell(member.description) || wordsOf(name)} |`;
		const inner = isObject(member.items) ? memberRows(member.items, `${path}[].`) : memberRows(member, `${path}.`);
		return [row, ...inner];
	});
}

function typeText(schema: JsonObject): string {
	if (Array.isArray(schema.enum)) return schema.enum.map((value) => `\`${String(value)}\``).join(", ");
	if (schema.type === "array") return `list of ${isObject(schema.items) ? typeText(schema.items) : "anything"}`;
	if (isObject(schema.additionalProperties)) return `${typeText(schema.additionalProperties)} by name`;
	if (schema.format === "date-time") return "time, RFC 3339";
	return typeof schema.type === "string" ? schema.type : "anything";
}

/** `stalledForMs` -> "Stalled for, in milliseconds.": members whose names say all that there is to say. */
function wordsOf(name: string): string {
	const words = name
		.replace(/Ms$/, "")
		.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
		.replace(/\bid\b/, "identifier");
	return `${words.charAt(0).toUpperCase()}${words.slice(1)}${name.endsWith("Ms") ? ", in milliseconds" : ""}.`;
}

function cell(text: unknown): string {
	return typeof text === "string" ? text.replaceAll("|", "\\|") : "";
}
