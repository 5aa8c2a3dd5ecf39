/** docs/policy.md: every key of the policy, made from its schema. */
import type { Page } from "../generate.ts";
import { type JsonSchema, policyJsonSchema } from "./policy-schema.ts";

const HEAD = `# The policy file

<!-- Made by \`node docs/generate.ts\` from src/policy/schema.ts: change it there. -->

One YAML 1.2 file says what a sidecar does. \`nexus check FILE\` finds every fault in it at once, each with its line and a hint;
\`nexus explain FILE --url URL\` tells what would happen to one request. Samples that run as they stand are in \`config/samples/\`.
Put this line on top of a policy and an editor with YAML support completes and checks it while you type:

\`\`\`yaml
# yaml-language-server: $schema=../policy.schema.json
\`\`\`

- **Everything is checked before anything acts.** A policy with a fault changes nothing; the last good one stays.
- **A key that is accepted acts.** An unknown key is a fault, and so is one that this version does not act on yet.
- **Durations** carry their unit: \`250ms\`, \`5s\`, \`1m30s\`, \`1h\`; from 100ms to 24h. A bare number is a fault.
- **Addresses** are \`host:port\`: \`127.0.0.1:3000\`, \`[::1]:3000\`, \`name:3000\`. Where the type says so, also \`unix:/path\` of a socket.
  A listener may ask for port 0, and the system chooses one.
- **Names** have at most 63 lower-case letters, digits, \`-\`, \`_\` and \`.\`.
- **\`\${NAME}\`** in a value stands for the environment variable, \`\${NAME:-default}\` for a default where it is unset or empty, \`$\${\` for a
  literal \`\${\`. A variable that is not set and has no default is a fault. Inside \`{ }\` and \`[ ]\`, YAML wants quotes around it.
- A whole value may be repeated by anchor and alias (\`&name\`, \`*name\`). Merge keys (\`<<\`) are no part of YAML 1.2.
- One file holds one policy of at most 1 MiB.

## Paths of routes

| pattern | matches |
|---|---|
| \`/a/b\` | exactly this path |
| \`/a/**\` | \`/a\` and everything below it |
| \`/a/*.json\` | \`*\` is any part of one segment, also none of it |
| \`/a/**/b\` | \`**\` is any number of whole segments, also none: \`/a/b\`, \`/a/x/y/b\` |

The query is not compared, and paths are compared as they are received.
`;

export const policyPage: Page = {
	file: "docs/policy.md",
	render: () => `${HEAD}\n${sections("", "Top level", policyJsonSchema()).join("\n")}`,
};

function sections(path: string, title: string, schema: JsonSchema): string[] {
	const properties = Object.entries(schema.properties ?? {});
	const rows = properties.map(([key, value]) => row(key, value, schema.required?.includes(key) === true));
	const table = `## ${title}\n\n| key | type | default | what it does |\n|---|---|---|---|\n${rows.join("\n")}\n`;
	return [table, ...properties.flatMap(([key, value]) => nested(path === "" ? key : `${path}.${key}`, value))];
}

function nested(path: string, schema: JsonSchema): string[] {
	if (schema.properties !== undefined) return sections(path, `\`${path}\``, schema);
	if (schema.items?.properties !== undefined) return sections(`${path}[]`, `\`${path}[]\``, schema.items);
	const each = schema.additionalProperties;
	return each && each.properties !== undefined ? sections(`${path}.NAME`, `\`${path}.NAME\``, each) : [];
}

function row(key: string, schema: JsonSchema, required: boolean): string {
	return `| \`${key}\` | ${typeText(schema)} | ${defaultText(schema, required)} | ${schema.description ?? ""} |`;
}

function typeText(schema: JsonSchema): string {
	if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(", ");
	if (schema.title !== undefined) return schema.title;
	if (schema.items !== undefined) return schema.items.properties === undefined ? `list: ${typeText(schema.items)}` : "list of mappings";
	if (schema.additionalProperties) return schema.additionalProperties.properties === undefined ? "mapping of names to text" : "mapping by name";
	if (schema.properties !== undefined) return "mapping";
	if (schema.type === "boolean") return "`true`, `false`";
	const range = `${schema.minimum} to ${schema.maximum}`;
	return schema.type === "integer" ? `whole number, ${range}` : `number, ${range}`;
}

function defaultText(schema: JsonSchema, required: boolean): string {
	if (required) return "**required**";
	if (schema.default === undefined) return "";
	if (schema.properties !== undefined) return "as below";
	if (schema.additionalProperties) return "none";
	return `\`${Array.isArray(schema.default) ? JSON.stringify(schema.default) : String(schema.default)}\``;
}
