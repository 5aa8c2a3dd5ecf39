/** The types of the client beside the API's own description: the same members, the same ones optional, the same ones null at times. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { serveNexus, temporaryDir } from "../nexus/support.ts";

const CLIENT = new URL("../../src/client/", import.meta.url);

/** By type: where the same stands in the components of /openapi.json. */
const PLACES: Readonly<Record<string, string>> = {
	Answers: "AckRequest",
	AnswerReport: "AckAnswer",
	AuthorityCertificate: "Authority.roots[]",
	AuthorityState: "Authority",
	DeadLetter: "DeadLetter",
	DeadLetterPage: "DeadLetters",
	DeadLetterReplay: "ReplayAnswer",
	DeliverySettings: "Delivery",
	EventPage: "ReadAnswer",
	EventSchema: "EventSchema",
	FilterDialect: "FilterDialect",
	LogBackup: "Backup",
	LogStatus: "Status.log",
	NexusStatus: "Status",
	ParkedEvent: "ParkedEvent",
	ParkedReplay: "ParkedReplayAnswer",
	ParkedSelection: "ParkedReplayRequest",
	Policy: "Policy",
	PolicyInstance: "PolicyStatus.instances[]",
	PolicyPut: "PolicyRequest",
	PolicyPutReport: "PolicyPut",
	PolicyStatus: "PolicyStatus",
	PolicySummary: "Policies.policies[]",
	PolicyVersion: "PolicyVersions.versions[]",
	PolicyVersions: "PolicyVersions",
	PublishReport: "IngestAnswer",
	RefusedEvent: "IngestAnswer.rejected[]",
	Rollout: "PolicyStatus.rollout",
	Rotation: "Authority.rotation",
	SchemaInfo: "EventSchemas.schemas[]",
	SchemaPut: "SchemaRequest",
	Service: "Services.services[]",
	ServiceInstance: "Services.services[].instances[]",
	ShortFilter: "ShortFilter",
	StoredEvent: "StoredEvent",
	Subscription: "ShownSubscription",
	SubscriptionDocument: "Subscription",
	TakenEvent: "FetchAnswer.deliveries[]",
	TokenInfo: "Token",
	TrustBundle: "TrustBundle",
	WebhookSink: "Subscription.sink",
	WebhookMember: "Subscription.sink.members[]",
	WebhookTls: "WebhookTls",
	Workload: "Authority.workloads[]",
};

interface Schema {
	readonly $ref?: string;
	readonly type?: string | readonly string[];
	readonly anyOf?: readonly Schema[];
	readonly oneOf?: readonly Schema[];
	readonly allOf?: readonly Schema[];
	readonly items?: Schema;
	readonly properties?: Readonly<Record<string, Schema>>;
	readonly required?: readonly string[];
}

test("the types of what goes to the API and comes from it have the members that it describes", async (t) => {
	const { url } = await serveNexus(t, temporaryDir(t));
	const { components } = (await (await fetch(`${url}/openapi.json`)).json()) as { components: { schemas: Record<string, Schema> } };
	const types = typesOf();
	for (const [name, place] of Object.entries(PLACES)) {
		assert.deepEqual(membersOfType(name, types), membersOfSchema(schemaAt(place, components.schemas), components.schemas), `${name} and ${place}`);
	}
});

/** Each member as `name`, `name?`, and ` | null` behind it where it may be that. */
function membersOfType(name: string, types: ReadonlyMap<string, { readonly bases: readonly string[]; readonly body: string }>): string[] {
	const type = types.get(name);
	assert.ok(type !== undefined, `the client has no interface ${name}`);
	const own = type.body.split(/^\t(?:readonly )?(?=\w+\??: )/m).slice(1);
	const members = own.map((text) => {
		const [, member = ""] = /^(\w+\??):/.exec(text) ?? [];
		// What stands behind it is the comment of the next one.
		const isNullable = /\| null;\s*(?:\/\*\*.*)?$/s.test(text);
		return member + (isNullable ? " | null" : "");
	});
	return [...members, ...type.bases.flatMap((base) => membersOfType(base, types))].toSorted();
}

function membersOfSchema(schema: Schema, schemas: Readonly<Record<string, Schema>>): string[] {
	assert.ok(schema.properties !== undefined, JSON.stringify(schema).slice(0, 200));
	return Object.entries(schema.properties)
		.map(([name, member]) => `${name}${schema.required?.includes(name) ? "" : "?"}${isNullable(member, schemas) ? " | null" : ""}`)
		.toSorted();
}

/** `Name.member[]`: of what is null or one of several, that which has members. */
function schemaAt(place: string, schemas: Readonly<Record<string, Schema>>): Schema {
	let schema: Schema | undefined = { $ref: `/${place.split(".")[0]}` };
	for (const step of place.split(".")) {
		const name = step.replace("[]", "");
		schema = schema?.$ref !== undefined && step === place.split(".")[0] ? schemas[name] : objectOf(schema, schemas)?.properties?.[name];
		if (step.endsWith("[]")) schema = objectOf(schema, schemas)?.items;
	}
	const found = objectOf(schema, schemas);
	assert.ok(found !== undefined, `there is no ${place}`);
	return found;
}

function objectOf(schema: Schema | undefined, schemas: Readonly<Record<string, Schema>>): Schema | undefined {
	if (schema === undefined || schema.properties !== undefined || schema.items !== undefined) return schema;
	if (schema.$ref !== undefined) return objectOf(schemas[schema.$ref.split("/").at(-1) ?? ""], schemas);
	return [...(schema.anyOf ?? []), ...(schema.oneOf ?? []), ...(schema.allOf ?? [])]
		.map((each) => objectOf(each, schemas))
		.find((each) => each !== undefined);
}

function isNullable({ $ref, type, anyOf = [], oneOf = [] }: Schema, schemas: Readonly<Record<string, Schema>>): boolean {
	if ($ref !== undefined) return isNullable(schemas[$ref.split("/").at(-1) ?? ""] ?? {}, schemas);
	return [type].flat().includes("null") || [...anyOf, ...oneOf].some((each) => isNullable(each, schemas));
}

function typesOf(): Map<string, { bases: string[]; body: string }> {
	const types = new Map<string, { bases: string[]; body: string }>();
	for (const file of readdirSync(CLIENT)) {
		const text = readFileSync(new URL(file, CLIENT), "utf8");
		for (const [, name = "", bases = "", body = ""] of text.matchAll(/^export interface (\w+)(?:<[^>]*>)?(?: extends ([^{]+?))? \{\n(.*?)^\}/gms)) {
			types.set(name, { bases: bases === "" ? [] : bases.split(", ").map((base) => base.replace(/<.*/, "")), body });
		}
	}
	return types;
}
