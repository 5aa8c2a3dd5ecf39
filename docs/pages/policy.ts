/** docs/policy.md: every key of the policy, made from its schema. */

import type { JsonSchema } from "../../src/policy/shape.ts";
import type { Page } from "../generate.ts";
import { policyJsonSchema } from "./policy-schema.ts";

const ROUTES = `outbound:
  routes:
    - name: canary
      match: { host: search, path: /api/**, headers: { x-beta: { present: true } }, query: { v: "2" }, percent: 50 }
      split: [{ to: search-v1, weight: 95 }, { to: search-v2, weight: 5 }]
      sticky: cookie:session
      mirror: { to: search-v2, percent: 1 }
      rewrite: { path: /v2 }
      headers: { request: { set: { x-source: checkout } }, response: { remove: [server] } }
    - { name: moved, match: { path: /old/** }, redirect: { status: 308, host: new.example.com, path: /new } }
    - { name: ping, match: { path: /ping }, respond: { body: pong } }
upstreams:
  search-v1: { endpoints: [{ address: 127.0.0.1:3001 }] }
  search-v2: { endpoints: [{ address: 127.0.0.1:3002 }] }
`;

const POLICIES = `policies:
  - { from: "*", to: "*", timeout: { request: 5s } }
  - { from: [checkout, billing], to: payments, timeout: { request: 2s }, retry: { attempts: 1 } }
upstreams:
  payments:
    endpoints: [{ address: 127.0.0.1:3001 }]
    timeout: { connect: 500ms } # and 2s for the request
`;

const PROTECTION = `upstreams:
  payments:
    endpoints: [{ address: 127.0.0.1:3001 }, { address: 127.0.0.1:3002 }]
    circuitBreaker: { failureRate: 0.5, openFor: 30s, maxOpenFor: 5m, failover: [backup], maxConcurrent: 200 }
    outlierDetection: { consecutiveFailures: 3, maxEjectionPercent: 50 }
    retry: { on: [connect-failure, reset, gateway-error], perTryTimeout: 2s, hedge: { after: p95 } }
    rateLimits: [{ name: all, requestsPerSecond: 100, burst: 200, overflow: queue, maxWait: 500ms }]
    fault: { abort: { percent: 30, status: 503 }, for: 10m }
  backup: { endpoints: [{ address: 127.0.0.1:3003 }] }
`;

function example(yaml: string): string {
	return `\`\`\`yaml\n${yaml}\`\`\`\n`;
}

const HEAD = `# The policy file

<!-- Made by \`node docs/generate.ts\` from src/policy/schema*.ts: change it there. -->

One YAML 1.2 file says what a sidecar does. \`nexus check FILE\` finds every fault in it at once, each with its line and a hint;
\`nexus explain FILE --url URL\` tells what would happen to one request. Samples that run as they stand are in \`config/samples/\`.
Put this line on top of a policy and an editor with YAML support completes and checks it while you type:

\`\`\`yaml
# yaml-language-server: $schema=../policy.schema.json
\`\`\`

- **Everything is checked before anything acts.** A policy with a fault changes nothing; the last good one stays.
- **A key that is accepted acts.** An unknown key is a fault, and so is one that this version does not act on yet.
- **Durations** carry their unit: \`250ms\`, \`5s\`, \`1m30s\`, \`1h\`; from 100ms to 24h, and from 1ms where waits are short by nature
  (backoff, hedges, queues, injected delays). A bare number is a fault.
- **Addresses** are \`host:port\`: \`127.0.0.1:3000\`, \`[::1]:3000\`, \`name:3000\`. Where the type says so, also \`unix:/path\` of a socket.
  A listener may ask for port 0, and the system chooses one.
- **Names** have at most 63 lower-case letters, digits, \`-\`, \`_\` and \`.\`.
- **\`\${NAME}\`** in a value stands for the environment variable, \`\${NAME:-default}\` for a default where it is unset or empty, \`$\${\` for a
  literal \`\${\`. A variable that is not set and has no default is a fault. Inside \`{ }\` and \`[ ]\`, YAML wants quotes around it.
- A whole value may be repeated by anchor and alias (\`&name\`, \`*name\`). Merge keys (\`<<\`) are no part of YAML 1.2.
- One file holds one policy of at most 1 MiB.

## Paths of routes

| pattern | matches | with \`rewrite: { path: /new }\` |
|---|---|---|
| \`/a/b\` | exactly this path | \`/new\` |
| \`/a/**\` | \`/a\` and everything below it | \`/a/x/y\` becomes \`/new/x/y\`, \`/a\` becomes \`/new\` |
| \`/a/*.json\` | \`*\` is any part of one segment, also none of it | \`/new\` |
| \`/a/**/b\` | \`**\` is any number of whole segments, also none: \`/a/b\`, \`/a/x/y/b\` | \`/new\` |

The query is no part of the path: it is compared by \`match.query\`, decoded once, and stays as it came, also when the path is rewritten. The
\`path\` of a \`redirect\` means the same.

A path is brought into its normal form once, right behind the head of a request, and that one string is compared, logged and sent on:
\`%41\` becomes \`A\` (letters, digits, \`-._~\`), \`\\\` a slash, \`.\` and \`..\` are resolved, empty segments go. All else stays encoded as
it came, \`%2F\` too. What no two servers read alike is refused with \`bad_request\`: a \`%\` without two digits, \`%00\`, dots that hide behind
\`%2F\` or \`;\`, several kinds of encoded dividers at once. Rules of \`authorization\` look further, at each reading that some server may
have of a path ([0056](decisions/0056-paths-are-read-once.md)).

## Which route a request takes

The first in file order whose conditions all hold, however special the others are. \`percent\` draws once for each request and route: two
routes with 10 % take different tenths, and a decision trace tells what fell. What a route leaves goes on to the next. 10,000 routes
cost about what 10 do: a request is compared only with those of its host and of the beginnings of its path.

${example(ROUTES)}
Routes change no field that framing or one connection depends on (\`content-length\`, \`connection\`, ...), neither \`host\` (use \`rewrite\`), nor what
the mesh and proxies say about a request (\`x-nexus-*\`, \`x-forwarded-*\`, \`forwarded\`, \`x-real-ip\`, \`via\`, \`x-request-id\`, \`traceparent\`,
\`tracestate\`). They remove first, then set, then add.

## Policies from a source to a destination

${example(POLICIES)}
Every key of an upstream that is no address can stand in an entry of \`policies\`. Those whose \`from\` names this service act, so that one
file may serve many. An entry fills what the upstream itself does not say, key by key; lists and \`fault\` are taken as a whole. Later
entries win over earlier ones. Each value keeps its line: \`nexus explain\` and decision traces name the entry that it came from.

## What protects an upstream

Without a word: retries of what is safe to try again (\`attempts: 2\`) within a budget of 20 % and 10 a second, ejection of endpoints that fail,
and all endpoints again when fewer than half of them are usable. With a word:

${example(PROTECTION)}
- A **breaker** opens after 5 failures in a row where no rate is given, or by any of the conditions that are. \`failureThreshold: 0\` without a
  rate leaves only its limits (\`maxConcurrent\`, \`maxPending\`). Failures are connections that fail, resets, timeouts and \`failureStatuses\`.
- A **retry** of what may have been acted on (a reset, a timeout, a status) needs an idempotent method or an \`idempotency-key\`.
  \`retry\` of a route replaces that of the upstream; the budget stays the upstream's.
- A **limit** counts apart by its \`key\`; each list is looked at whole, and the first that is used up answers.
- A **fault** happens below breaker and retries, so that these are seen to heal it. \`for\` counts from the moment that the file is first read;
  reading the same fault again does not begin it anew.
`;

export const policyPage: Page = {
	file: "docs/policy.md",
	render: () => {
		const schema = policyJsonSchema();
		return `${HEAD}\n${sections("", "Top level", schema, homes(schema)).join("\n")}`;
	},
};

// Where keys stand in several places, they are told at the first of these, or where they come up first.
const HOMES = ["outbound.routes[].match", "outbound.routes[].respond", "upstreams.NAME"];

/** The place at which each group of keys is told, by what the group says. */
type Homes = ReadonlyMap<string, string>;

function homes(schema: JsonSchema): Homes {
	const found = new Map<string, string>();
	const visit = (path: string, group: JsonSchema): void => {
		const words = wordsOf(group);
		const known = found.get(words);
		if (known === undefined || homeOf(path) < homeOf(known)) found.set(words, path);
		for (const [key, value] of Object.entries(group.properties ?? {}))
			for (const [below, inner] of groups(`${path}.${key}`, value)) visit(below, inner);
	};
	for (const [key, value] of Object.entries(schema.properties ?? {})) for (const [below, inner] of groups(key, value)) visit(below, inner);
	return found;
}

function homeOf(path: string): number {
	const at = HOMES.findIndex((home) => path.startsWith(home));
	return at === -1 ? HOMES.length : at;
}

function wordsOf({ properties }: JsonSchema): string {
	return JSON.stringify(properties);
}

/** The groups of keys that a value holds: itself, its items, or what stands under its names. */
function groups(path: string, schema: JsonSchema): [path: string, group: JsonSchema][] {
	if (schema.properties !== undefined) return [[path, schema]];
	const inFull = schema.anyOf?.find((one) => one.properties !== undefined && one.additionalProperties === false && one.minProperties === undefined);
	if (inFull !== undefined) return [[path, inFull]];
	if (schema.items?.properties !== undefined) return [[`${path}[]`, schema.items]];
	const each = schema.additionalProperties;
	return each && each.properties !== undefined ? [[`${path}.NAME`, each]] : [];
}

function sections(path: string, title: string, schema: JsonSchema, known: Homes): string[] {
	const properties = Object.entries(schema.properties ?? {});
	const rows: string[] = [];
	const nested: string[] = [];
	for (const [key, value] of properties) {
		const [below, group] = groups(path === "" ? key : `${path}.${key}`, value)[0] ?? [];
		const home = group && known.get(wordsOf(group));
		const elsewhere = home === below ? undefined : home;
		rows.push(row(key, value, schema.required?.includes(key) === true, elsewhere));
		if (below !== undefined && group !== undefined && elsewhere === undefined) nested.push(...sections(below, `\`${below}\``, group, known));
	}
	return [`## ${title}\n\n| key | type | default | what it does |\n|---|---|---|---|\n${rows.join("\n")}\n`, ...nested];
}

function row(key: string, schema: JsonSchema, required: boolean, elsewhere: string | undefined): string {
	const more = elsewhere === undefined ? "" : ` Its keys: see \`${elsewhere}\`.`;
	return `| \`${key}\` | ${typeText(schema)} | ${defaultText(schema, required, elsewhere)} | ${schema.description ?? ""}${more} |`;
}

function typeText(schema: JsonSchema): string {
	if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(", ");
	if (schema.title !== undefined) return schema.title;
	if (schema.items !== undefined) return schema.items.properties === undefined ? `list: ${typeText(schema.items)}` : "list of mappings";
	if (schema.additionalProperties) return mappingText(schema.additionalProperties);
	if (schema.properties !== undefined) return "mapping";
	if (schema.type === "boolean") return "`true`, `false`";
	const range = `${schema.minimum} to ${schema.maximum}`;
	return schema.type === "integer" ? `whole number, ${range}` : `number, ${range}`;
}

function mappingText({ properties, title }: JsonSchema): string {
	if (properties !== undefined) return "mapping by name";
	return `mapping of names to ${title === "condition" ? "conditions" : "text"}`;
}

function defaultText(schema: JsonSchema, required: boolean, elsewhere: string | undefined): string {
	if (required) return "**required**";
	if (schema.default === undefined) return "";
	if (schema.properties !== undefined) return elsewhere === undefined ? "as below" : "as there";
	if (schema.additionalProperties) return "none";
	if (schema.default === "") return "empty";
	return `\`${Array.isArray(schema.default) ? JSON.stringify(schema.default) : String(schema.default)}\``;
}
