/** Every method of the client, over TLS against a real Nexus: what it calls is in /openapi.json, and what comes back is as described there. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { type LogBackup, NexusClient, NexusError, type PolicyPut, type Transport } from "nexus-mesh/client";
import { httpTransport } from "../../src/client/transport.ts";
import { serveAuthority, until } from "../nexus/authority/support.ts";

/** Of sidecars, probes and other kinds of consumers; a program has no use for them. */
const NOT_OF_THE_CLIENT = [
	"delete /v1/services/{service}/instances/{instance}",
	"get /livez",
	"get /metrics",
	"get /readyz",
	"get /v1/subscriptions/{name}/stream",
	"post /v1/certificates",
	"post /v1/policies/{service}/sync",
	"put /v1/services/{service}/instances/{instance}",
];

interface Operation {
	readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, unknown>> }>>;
}

type Paths = Readonly<Record<string, Readonly<Record<string, Operation>>>>;

interface Exchange {
	readonly method: string;
	readonly path: string;
	readonly status: number;
	readonly type: string;
	/** Undefined for a stream. */
	readonly text: string | undefined;
}

/** Keeps what went over it. */
class RecordingTransport implements Transport {
	readonly exchanges: Exchange[] = [];
	readonly #inner: Transport;

	constructor(inner: Transport) {
		this.#inner = inner;
	}

	async send(...[path, request]: Parameters<Transport["send"]>): Promise<Response> {
		const response = await this.#inner.send(path, request);
		const type = (response.headers.get("content-type") ?? "").split(";")[0] ?? "";
		const text = type === "text/event-stream" ? undefined : await response.clone().text();
		this.exchanges.push({ method: (request?.method ?? "GET").toLowerCase(), path, status: response.status, type, text });
		return response;
	}

	socketTarget(path: string): ReturnType<Transport["socketTarget"]> {
		this.exchanges.push({ method: "get", path, status: 101, type: "", text: undefined });
		return this.#inner.socketTarget(path);
	}
}

test("each method calls what /openapi.json describes, and is answered as described", { timeout: 120_000 }, async (t) => {
	const { transport, client, register } = await connect(t);
	const { paths, judge } = await described(transport);
	const told: string[] = [];
	for (const [part, methods] of Object.entries(callsOf(client, register))) {
		const target = part === "client" ? client : (client[part as keyof NexusClient] as object);
		const has = Object.getOwnPropertyNames(Object.getPrototypeOf(target)).filter((name) => name !== "constructor");
		assert.deepEqual(Object.keys(methods).toSorted(), has.toSorted(), `${part} has methods that are not called here`);
		for (const [name, call] of Object.entries(methods)) {
			const before = transport.exchanges.length;
			await call();
			assert.ok(transport.exchanges.length > before, `${part}.${name} calls nothing`);
		}
	}
	assert.deepEqual(partsOf(client), Object.keys(callsOf(client, register)).toSorted());
	for (const exchange of transport.exchanges) {
		const operation = operationOf(exchange, paths);
		if (operation === undefined) told.push(`${exchange.method} ${exchange.path} is not described`);
		else told.push(...judge(exchange, operation));
	}
	assert.deepEqual(told, []);

	const called = new Set(transport.exchanges.map((exchange) => operationOf(exchange, paths)));
	const all = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`));
	assert.deepEqual(all.filter((operation) => !called.has(operation)).toSorted(), NOT_OF_THE_CLIENT);
});

test("a refusal has status, reason, hint and the faults with their places", async (t) => {
	const { client, stranger } = await connect(t);
	const refusal = async (call: Promise<unknown>): Promise<NexusError> => {
		const [outcome] = await Promise.allSettled([call]);
		assert.ok(outcome.status === "rejected" && outcome.reason instanceof NexusError, JSON.stringify(outcome));
		return outcome.reason;
	};
	const badPolicy = await refusal(client.policies.put("shop", { policy: "upstreams: { pay: { retrry: {} } }\n" }));
	assert.deepEqual([badPolicy.status, badPolicy.reason], [422, "bad_policy"]);
	const typo = badPolicy.problem.faults?.find(({ message }) => message.includes("retrry"));
	assert.deepEqual([typo?.line, typo?.hint], [1, "did you mean `retry`?"]);

	const badSubscription = await refusal(client.subscriptions.put("x", { sink: { kind: "pigeon" } as never }));
	assert.equal(badSubscription.status, 400);
	assert.match(badSubscription.problem.faults?.[0]?.path ?? "", /^sink/);
	const absent = await refusal(client.subscriptions.get("x"));
	assert.deepEqual([absent.status, absent.reason, absent.isTransient], [404, "not_found", false]);

	await client.subscriptions.put("x", { sink: { kind: "pull" } }, { ifRevision: 0 });
	const changed = await refusal(client.subscriptions.put("x", { sink: { kind: "pull" } }, { ifRevision: 0 }));
	assert.equal(changed.status, 412);
	const unknown = await refusal(stranger.policies.list());
	assert.equal(unknown.status, 401);
	assert.ok(unknown.hint !== "" && unknown.message.includes(unknown.hint), JSON.stringify(unknown.problem));
});

async function connect(t: TestContext) {
	const { url, dir, operator } = await serveAuthority(t);
	const trust = { url, ca: readFileSync(join(dir, "ca.pem"), "utf8"), checkServerIdentity: () => undefined };
	const transport = new RecordingTransport(httpTransport({ ...trust, token: operator }));
	const client = new NexusClient({ transport, source: "/shop", rng: () => 0.01 });
	/** As a sidecar does it. */
	const register = async (instance: string): Promise<void> => {
		const response = await transport.send(`/v1/services/shop/instances/${instance}`, {
			method: "PUT",
			headers: { "content-type": "application/json" },
			body: JSON.stringify({ address: "10.0.0.1:80", health: "ready", version: "1", lease: "1m" }),
		});
		transport.exchanges.pop();
		assert.equal(response.status, 200, await response.text());
	};
	return { transport, client, register, stranger: new NexusClient(trust) };
}

function partsOf(client: NexusClient): string[] {
	return ["client", ...Object.keys(client)].toSorted();
}

/** In the order in which they make sense. */
function callsOf(client: NexusClient, register: (instance: string) => Promise<void>): Record<string, Record<string, () => Promise<unknown>>> {
	const { subscriptions, deadLetters, schemas, parkedEvents, policies, services, log, tokens, authority } = client;
	const first = async <T>(list: AsyncIterable<T>): Promise<T> => {
		for await (const item of list) return item;
		assert.fail("there is none");
	};
	/** Fetched anew each time. */
	const taken = async () => (await subscriptions.fetch("work"))[0]?.token ?? assert.fail("nothing came");
	let token = "";
	return {
		client: {
			publish: () => client.publish([{ type: "shop.a" }, { type: "shop.a", subject: "x", data: { n: 1 } }]),
			publisher: async () => {
				const publisher = client.publisher();
				const sending = publisher.send({ type: "shop.a" });
				await publisher.close();
				await sending;
			},
			openSocket: async () => {
				const socket = await client.openSocket();
				await socket.send([{ type: "shop.a" }]);
				await socket.close();
			},
			query: () => first(client.query({ type: "shop.*", since: new Date(0), limit: 2 })),
			pages: () => first(client.pages({ order: "desc", until: new Date(Date.now() + 60_000) })),
			follow: () => first(client.follow({ after: 0, type: "shop.*" })),
		},
		subscriptions: {
			put: () => subscriptions.put("work", { sink: { kind: "pull" }, filter: { type: "shop.*" }, from: "all", delivery: { attempts: 2 } }),
			get: () => subscriptions.get("work"),
			list: () => first(subscriptions.list()),
			pause: () => subscriptions.pause("work"),
			resume: () => subscriptions.resume("work"),
			seek: () => subscriptions.seek("work", { sequence: 0 }),
			fetch: taken,
			answer: async () => subscriptions.answer("work", { ack: [await taken()] }),
			ack: async () => subscriptions.ack("work", [await taken()]),
			nak: async () => subscriptions.nak("work", await taken(), { delayMs: 0, reason: "later" }),
			inProgress: async () => subscriptions.inProgress("work", [await taken()]),
			term: async () => {
				await subscriptions.seek("work", "all");
				await subscriptions.term("work", await taken(), "never");
				await until(async () => (await subscriptions.get("work")).deadLetters > 0, "it is a dead letter");
			},
			consume: async () => {
				await client.publish({ type: "shop.a" });
				const enough = new AbortController();
				await subscriptions.consume("work", () => enough.abort(), { signal: enough.signal });
			},
			// One of its own: what follows has use for the other.
			delete: async () => {
				await subscriptions.put("gone", { sink: { kind: "pull" } });
				await subscriptions.delete("gone", { discardDeadLetters: true });
			},
		},
		deadLetters: {
			page: () => deadLetters.page("work", { limit: 1 }),
			list: () => first(deadLetters.list("work")),
			peek: async () => {
				const { sequence } = await first(deadLetters.list("work"));
				const [letter] = await deadLetters.peek("work", sequence);
				assert.deepEqual([letter?.sequence, letter?.reason], [sequence, "never"]);
				assert.deepEqual(await deadLetters.peek("work", sequence + 1), []);
			},
			replay: () => deadLetters.replay("work", { filter: { type: "nothing.*" }, waitMs: 0 }),
			replayAll: () => first(deadLetters.replayAll("work", { waitMs: 10 })),
			discard: async () => deadLetters.discard("work", [(await first(deadLetters.list("work"))).sequence]),
		},
		schemas: {
			put: () => schemas.put("shop.b", { schema: { type: "object", required: ["n"] }, onViolation: "park" }),
			get: () => schemas.get("shop.b", { version: 1 }).then(() => schemas.get("shop.b")),
			list: () => schemas.list(),
			versions: () => schemas.versions("shop.b"),
			delete: async () => {
				await client.publish([{ type: "shop.b" }, { type: "shop.b", data: {} }]);
				await schemas.delete("shop.b");
			},
		},
		parkedEvents: {
			list: () => first(parkedEvents.list({ type: "shop.b" })),
			get: async () => parkedEvents.get((await first(parkedEvents.list())).key),
			discard: async () => parkedEvents.discard((await first(parkedEvents.list())).key),
			replay: () => parkedEvents.replay({ type: "shop.b", limit: 5 }),
		},
		policies: {
			put: async () => {
				const put = (port: number): PolicyPut => ({ policy: `upstreams: { pay: { endpoints: [{ address: 10.0.0.1:${port} }] } }\n`, reason: "why" });
				await policies.put("shop", put(80), { ifVersion: 0 });
				await policies.put("shop", { ...put(81), rollout: { stages: ["1", "all"], hold: "1s" } }, { ifVersion: 1 });
			},
			get: () => policies.get("shop").then(() => policies.get("shop", { version: 1 })),
			list: () => policies.list(),
			versions: () => policies.versions("shop"),
			status: () => policies.status("shop"),
			rollBack: () => policies.rollBack("shop", { to: 1, reason: "back" }),
		},
		services: {
			list: async () => {
				await register("a1");
				assert.equal((await services.list()).length, 1);
			},
			get: async () => {
				assert.equal((await services.get("shop"))?.instances[0]?.address, "10.0.0.1:80");
				assert.equal(await services.get("nobody"), undefined);
			},
			follow: () => first(services.follow(["shop"])),
		},
		log: {
			status: () => log.status(),
			startBackup: () => log.startBackup("one"),
			backup: () => until<LogBackup>(async () => ((one) => (one.state === "running" ? undefined : one))(await log.backup("one")), "it is made"),
			backups: () => log.backups(),
		},
		tokens: {
			create: async () => {
				await tokens.create({ service: "shop", ttl: "1m", uses: 2 });
				token = (await tokens.create({ role: "ingest", name: "shop", types: ["shop.*"] })).id;
			},
			rotate: () => tokens.rotate(token, { grace: "1h" }),
			list: () => first(tokens.list()),
			retirePrevious: () => tokens.retirePrevious(token),
			delete: () => tokens.delete(token),
		},
		authority: {
			state: () => authority.state(),
			trustBundle: () => authority.trustBundle(),
			deny: () => authority.deny({ identity: "pay" }),
			allow: () => authority.allow({ identity: "pay" }),
			rotate: () => authority.rotate("intermediate"),
		},
	};
}

async function described(transport: RecordingTransport) {
	const document = (await (await transport.send("/openapi.json")).json()) as { paths: Paths };
	transport.exchanges.pop();
	const ajv = new Ajv2020({ strict: false, validateFormats: false, validateSchema: false, allErrors: true });
	ajv.addSchema(document, "openapi");
	const judge = ({ method, path, status, type, text }: Exchange, operation: string): string[] => {
		const where = `${method} ${path} (${status})`;
		const [, template = ""] = operation.split(" ");
		const response = document.paths[template]?.[method]?.responses[status];
		if (response === undefined) return [`${where}: the status is not described`];
		if (text === undefined || text === "") return [];
		if (response.content?.[type] === undefined) return [`${where}: ${type} is not described`];
		const place = ["paths", template, method, "responses", String(status), "content", type, "schema"];
		const check = ajv.compile({
			$ref: `openapi#/${place.map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"))).join("/")}`,
		});
		return check(JSON.parse(text)) ? [] : [`${where}: ${ajv.errorsText(check.errors)}`];
	};
	return { paths: document.paths, judge };
}

/** The one that an exchange is of, as in `get /v1/events`. */
function operationOf({ method, path }: Exchange, paths: Paths): string | undefined {
	const [bare = ""] = path.split("?");
	const fits = (template: string) => new RegExp(`^${template.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(bare);
	const template = Object.keys(paths).find((each) => fits(each) && paths[each]?.[method] !== undefined);
	return template === undefined ? undefined : `${method} ${template}`;
}
