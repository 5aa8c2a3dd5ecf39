/** Every list of the API in pages: alike, bounded, described, and whole also where entries go between two of them. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { call, publish, until } from "./subscriptions/support.ts";
import { eventJson, serveNexus, temporaryDir } from "./support.ts";

type Entry = Record<string, unknown>;

interface List {
	readonly path: string;
	/** Member of the answer. */
	readonly member: string;
	readonly idOf: (entry: Entry) => string;
	/** Makes that many. */
	fill(url: string, count: number): Promise<void>;
	/** Undefined: entries of this kind do not go. */
	readonly remove?: (url: string, id: string) => Promise<number>;
}

const COUNT = 7;

async function made(url: string, method: string, body: unknown, status: number): Promise<void> {
	const answer = await call(url, method, body);
	assert.equal(answer.status, status, JSON.stringify(answer.json));
}

const removed = async (url: string, method = "DELETE", body?: unknown): Promise<number> => (await call(url, method, body)).status;

const LISTS: readonly List[] = [
	{
		path: "/v1/subscriptions",
		member: "subscriptions",
		idOf: ({ name }) => String(name),
		async fill(url, count) {
			for (let n = 0; n < count; n++) await made(`${url}/v1/subscriptions/s${n}`, "PUT", { filter: { type: "none" }, sink: { kind: "pull" } }, 201);
		},
		remove: (url, id) => removed(`${url}/v1/subscriptions/${id}`),
	},
	{
		path: "/v1/subscriptions/letters/dead-letters",
		member: "deadLetters",
		idOf: ({ sequence }) => String(sequence),
		async fill(url, count) {
			await made(`${url}/v1/subscriptions/letters`, "PUT", { filter: { type: "dead" }, sink: { kind: "pull" } }, 201);
			for (let n = 0; n < count; n++) await publish(url, { id: `d${n}`, type: "dead" });
			const { deliveries } = (
				await call<{ deliveries: { token: string }[] }>(`${url}/v1/subscriptions/letters/fetch`, "POST", { max: count, wait: "10s" })
			).json;
			const tokens = deliveries.map(({ token }) => token);
			while (tokens.length < count) {
				const more = await call<{ deliveries: { token: string }[] }>(`${url}/v1/subscriptions/letters/fetch`, "POST", { max: count, wait: "10s" });
				tokens.push(...more.json.deliveries.map(({ token }) => token));
			}
			await call(`${url}/v1/subscriptions/letters/ack`, "POST", { term: tokens });
			await until("they are dead letters", async () => (await call(`${url}/v1/subscriptions/letters`, "GET")).json.deadLetters === count);
		},
		remove: async (url, id) => {
			const status = await removed(`${url}/v1/subscriptions/letters/dead-letters/discard`, "POST", { sequences: [Number(id)] });
			return status === 200 ? 204 : status;
		},
	},
	{
		path: "/v1/policies",
		member: "policies",
		idOf: ({ service }) => String(service),
		async fill(url, count) {
			for (let n = 0; n < count; n++) {
				const policy = `service: p${n}\ninbound: { listen: 127.0.0.1:15006, application: 127.0.0.1:3000 }\n`;
				const { status, json } = await call(`${url}/v1/policies/p${n}`, "PUT", { policy, reason: "x" });
				assert.ok(status < 300, JSON.stringify(json));
			}
		},
	},
	{
		path: "/v1/services",
		member: "services",
		idOf: ({ service }) => String(service),
		async fill(url, count) {
			// Names that look like numbers come in their order, too.
			for (let n = 0; n < count; n++) {
				for (const instance of ["a", "b"]) {
					await made(
						`${url}/v1/services/${n % 2 === 0 ? n : `v${n}`}/instances/${instance}`,
						"PUT",
						{ address: `127.0.0.1:${1000 + n}`, lease: "60s" },
						200,
					);
				}
			}
		},
		remove: async (url, id) => {
			await removed(`${url}/v1/services/${id}/instances/a`);
			return removed(`${url}/v1/services/${id}/instances/b`);
		},
	},
	{
		path: "/v1/schemas",
		member: "schemas",
		idOf: ({ type }) => String(type),
		async fill(url, count) {
			for (let n = 0; n < count; n++) await made(`${url}/v1/schemas/a.${n}`, "PUT", { schema: { type: "object" } }, 201);
		},
		remove: (url, id) => (id.startsWith("nexus.") ? Promise.resolve(403) : removed(`${url}/v1/schemas/${id}`)),
	},
	{
		path: "/v1/tokens",
		member: "tokens",
		idOf: ({ id }) => String(id),
		async fill(url, count) {
			for (let n = 0; n < count; n++) await made(`${url}/v1/tokens`, "POST", { role: "read", name: `n${n}` }, 201);
		},
		remove: (url, id) => removed(`${url}/v1/tokens/${id}`),
	},
	{
		path: "/v1/parked-events",
		member: "events",
		idOf: ({ key }) => String(key),
		async fill(url, count) {
			await made(`${url}/v1/schemas/parked`, "PUT", { schema: { type: "number" }, onViolation: "park" }, 201);
			for (let n = 0; n < count; n++) {
				const body = eventJson({ id: `p${n}`, type: "parked", data: "x" });
				const answer = await fetch(`${url}/v1/events`, { method: "POST", headers: { "content-type": "application/cloudevents+json" }, body });
				assert.equal(answer.status, 200, await answer.text());
			}
		},
		remove: (url, id) => removed(`${url}/v1/parked-events/${id}`),
	},
	{
		path: "/v1/log/backups",
		member: "backups",
		idOf: ({ name }) => String(name),
		async fill(url, count) {
			for (let n = 0; n < count; n++) {
				await made(`${url}/v1/log/backups`, "POST", { name: `b${n}` }, 202);
				await until("it is made", async () => (await call<{ state: string }>(`${url}/v1/log/backups/b${n}`, "GET")).json.state === "done");
			}
		},
	},
];

async function serve(t: TestContext): Promise<string> {
	return (await serveNexus(t, temporaryDir(t))).url;
}

for (const { path, member, idOf, fill, remove } of LISTS) {
	test(`${path} comes in pages, each entry once, also where entries before and behind go between two of them`, async (t) => {
		const url = await serve(t);
		await fill(url, COUNT);
		const at = async (query: string): Promise<{ entries: Entry[]; next: string | null }> => {
			const { status, json } = await call<Record<string, unknown>>(`${url}${path}${query}`, "GET");
			assert.equal(status, 200, JSON.stringify(json));
			return { entries: json[member] as Entry[], next: json.next as string | null };
		};
		const all = (await at("?limit=1000")).entries.map(idOf);
		assert.ok(all.length >= COUNT, `${all.length}`);
		assert.equal((await at("?limit=1000")).next, null);
		assert.equal((await at(`?limit=${all.length}`)).next, null, "a page that holds the last one says so");
		const walk = async (onPage: (seen: readonly string[]) => Promise<void>): Promise<string[]> => {
			const seen: string[] = [];
			for (let next: string | null = ""; next !== null; ) {
				const page = await at(`?limit=2${next === "" ? "" : `&after=${encodeURIComponent(next)}`}`);
				assert.ok(page.entries.length <= 2);
				seen.push(...page.entries.map(idOf));
				({ next } = page);
				await onPage(seen);
			}
			return seen;
		};
		assert.deepEqual(await walk(async () => {}), all);

		if (remove !== undefined) {
			// The last one seen, on which the next page rests, and one that is still to come.
			const gone = new Set<string>();
			const seen = await walk(async (before) => {
				if (gone.size > 0) return;
				for (const id of [before.at(-1) ?? "", all[4] ?? ""]) {
					assert.equal(await remove(url, id), 204, id);
					gone.add(id);
				}
			});
			assert.deepEqual(
				seen,
				all.filter((id, index) => index < 2 || !gone.has(id)),
			);
		}
		for (const query of ["?limit=0", "?limit=1001", "?limit=x", "?limit=-1", "?after=", "?more=1"]) {
			assert.equal((await call(`${url}${path}${query}`, "GET")).status, 400, query);
		}
	});
}

test("every answer with `next` is described with `after` and `limit`, and no list is without them", async (t) => {
	const url = await serve(t);
	interface Schema {
		readonly $ref?: string;
		readonly properties?: Readonly<Record<string, { readonly type?: string | readonly string[] }>>;
	}
	interface Operation {
		readonly parameters?: readonly { readonly name: string; readonly schema: { readonly maximum?: number; readonly default?: number } }[];
		readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, { readonly schema: Schema }>> }>>;
	}
	const { paths, components } = (
		await call<{ paths: Record<string, Record<string, Operation>>; components: { schemas: Record<string, Schema> } }>(`${url}/openapi.json`, "GET")
	).json;
	const paged: string[] = [];
	for (const [path, { get }] of Object.entries(paths)) {
		const found = get?.responses["200"]?.content?.["application/json"]?.schema;
		const schema = found?.$ref === undefined ? found : components.schemas[found.$ref.slice("#/components/schemas/".length)];
		// Of one service: as the list shows it, and never more than that.
		if (get === undefined || schema?.properties?.next === undefined || path === "/v1/services/{service}") continue;
		const parameters = new Map((get.parameters ?? []).map((parameter) => [parameter.name, parameter]));
		assert.ok(parameters.has("after"), path);
		assert.deepEqual([parameters.get("limit")?.schema.maximum, parameters.get("limit")?.schema.default], [1000, 100], path);
		paged.push(path);
	}
	const wanted = [...LISTS.map(({ path }) => path.replace("/letters/", "/{name}/")), "/v1/events"];
	assert.deepEqual(paged.filter((path) => path !== "/v1/services/{service}").sort(), wanted.sort());
});
