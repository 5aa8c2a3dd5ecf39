/** A Nexus with an authority over real sockets, its callers with real certificates, and the time that a test gives it. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { Agent, request as httpsRequest } from "node:https";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { AuthorityState } from "../../../src/client/nexus-client.ts";
import { type Clock, systemClock, type Timer } from "../../../src/core/clock.ts";
import { writeAuthorityDir } from "../../../src/identity/authority-dir.ts";
import { createRequest, privateKeyPem } from "../../../src/identity/certificate-request.ts";
import { createAuthority } from "../../../src/identity/new-authority.ts";
import { type SpiffeId, spiffeIdOf } from "../../../src/identity/spiffe-id.ts";
import type { TrustBundleDocument } from "../../../src/identity/trust-bundle.ts";
import type { Nexus, NexusOptions } from "../../../src/nexus/nexus.ts";
import { serveNexus, temporaryDir } from "../support.ts";

export const TRUST_DOMAIN = "mesh.local";
export const HOUR_MS = 3_600_000;
/** For what takes milliseconds: the two cores of a busy machine. */
const DEADLINE_MS = 20_000;

/** The system's clock, but that the wall clock may jump, and time may be skipped. Timers run as they were set. */
export class JumpingClock implements Clock {
	#shiftMs = 0;
	#skippedMs = 0;

	monotonicMs(): number {
		return systemClock.monotonicMs() + this.#skippedMs;
	}

	/** Of both clocks. */
	skip(ms: number): void {
		this.#skippedMs += ms;
		this.#shiftMs += ms;
	}

	wallMs(): number {
		return systemClock.wallMs() + this.#shiftMs;
	}

	setTimer(delayMs: number, callback: () => void): Timer {
		return systemClock.setTimer(delayMs, callback);
	}

	jump(ms: number): void {
		this.#shiftMs += ms;
	}
}

export interface Answer {
	readonly status: number;
	readonly headers: Readonly<Record<string, string | string[] | undefined>>;
	readonly text: string;
	readonly json: Record<string, unknown>;
}

export interface CallOptions {
	readonly method?: string;
	readonly token?: string;
	/** Sent as JSON; a string as it is. */
	readonly body?: unknown;
	readonly headers?: Readonly<Record<string, string>>;
}

/** A caller, with a certificate or without one; each keeps connections of its own. */
export class Caller {
	readonly url: string;
	readonly #agent: Agent;
	readonly #plain: boolean;

	constructor(t: TestContext, url: string, shown: { cert?: string; key?: string; ca?: string } = {}) {
		this.url = url;
		this.#plain = url.startsWith("http:");
		this.#agent = new Agent({
			...shown,
			rejectUnauthorized: shown.ca !== undefined,
			checkServerIdentity: () => undefined,
			keepAlive: true,
			maxSockets: 64,
		});
		t.after(() => this.#agent.destroy());
	}

	call(path: string, { method, token, body, headers = {} }: CallOptions = {}): Promise<Answer> {
		const payload = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
		return new Promise((resolve, reject) => {
			const options = {
				method: method ?? (payload === undefined ? "GET" : "POST"),
				headers: {
					// Node frames the body of a DELETE only when it is told to.
					...(payload === undefined ? {} : { "content-length": String(Buffer.byteLength(payload)) }),
					...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
					...headers,
				},
			};
			const req = this.#plain
				? httpRequest(new URL(path, this.url), options)
				: httpsRequest(new URL(path, this.url), { ...options, agent: this.#agent });
			req.on("error", reject);
			req.on("response", (response) => {
				let text = "";
				response.setEncoding("utf8");
				response.on("data", (part: string) => (text += part));
				response.on("error", reject);
				response.on("end", () => {
					const isJson = text !== "" && /json/.test(String(response.headers["content-type"]));
					resolve({
						status: response.statusCode ?? 0,
						headers: response.headers,
						text,
						json: isJson ? (JSON.parse(text) as Record<string, unknown>) : {},
					});
				});
			});
			req.end(payload);
		});
	}
}

export function identityOf(service: string, trustDomain = TRUST_DOMAIN): SpiffeId {
	const reading = spiffeIdOf(trustDomain, service);
	assert.ok(reading.ok);
	return reading.id;
}

/** As a sidecar does it: a key of its own, and a certificate for it. */
export class Workload {
	readonly id: SpiffeId;
	readonly #t: TestContext;
	readonly #url: string;
	caller: Caller;
	certificate = "";
	key = "";
	version = 0;

	constructor(t: TestContext, url: string, service: string) {
		this.#t = t;
		this.#url = url;
		this.id = identityOf(service);
		this.caller = new Caller(t, url);
	}

	async join(token: string): Promise<void> {
		await this.#obtain({ token });
	}

	/** With the certificate that it has, on a connection that shows it; then on new connections with the new one. */
	async renew(): Promise<void> {
		await this.#obtain({});
	}

	async pollOnce(wait = "0s"): Promise<{ bundle: TrustBundleDocument; issuer: string } | undefined> {
		const answer = await this.caller.call(`/v1/trust-bundle?after=${this.version}${wait === "0s" ? "" : `&wait=${wait}`}`);
		if (answer.status === 204) return undefined;
		assert.equal(answer.status, 200, answer.text);
		const found = answer.json as unknown as { bundle: TrustBundleDocument; issuer: string };
		this.version = found.bundle.version;
		return found;
	}

	async #obtain({ token }: { token?: string }): Promise<void> {
		const { key, request } = createRequest(this.id);
		const answer = await this.caller.call("/v1/certificates", {
			body: { request: request.toString("base64") },
			...(token === undefined ? {} : { token }),
		});
		assert.equal(answer.status, 201, answer.text);
		this.certificate = String(answer.json.certificate);
		this.key = privateKeyPem(key);
		this.caller = new Caller(this.#t, this.#url, { cert: this.certificate, key: this.key });
	}
}

export interface TestAuthority {
	readonly nexus: Nexus;
	readonly url: string;
	readonly dir: string;
	readonly dataDir: string;
	/** The token of the first operator. */
	readonly operator: string;
	readonly anybody: Caller;
	/** As operator; the status must be the one that is expected. */
	operate(path: string, options: CallOptions, status: number): Promise<Answer>;
	status(): Promise<AuthorityState>;
	joinToken(service: string, uses?: number, ttl?: string): Promise<string>;
	joined(service: string): Promise<Workload>;
}

/** An authority in a folder of its own, as `nexus ca init` makes it. */
export async function makeAuthority(t: TestContext, nowMs = systemClock.wallMs()): Promise<{ base: string; dir: string; dataDir: string }> {
	const base = temporaryDir(t);
	const [dir, dataDir] = [join(base, "ca"), join(base, "data")];
	mkdirSync(dataDir);
	await writeAuthorityDir(dir, await createAuthority({ trustDomain: TRUST_DOMAIN, nowMs }));
	return { base, dir, dataDir };
}

export async function serveAuthority(
	t: TestContext,
	options: Partial<NexusOptions> & { ttlMs?: number; folders?: { dir: string; dataDir: string } } = {},
): Promise<TestAuthority> {
	const { ttlMs = 24 * HOUR_MS, folders, ...rest } = options;
	const { dir, dataDir } = folders ?? (await makeAuthority(t, rest.clock?.wallMs()));
	const { nexus } = await serveNexus(t, dataDir, {
		authority: { dir, certificateTtlMs: ttlMs },
		access: { anonymous: [], identities: {}, isStated: true },
		...rest,
	});
	return authorityAt(t, { nexus, url: `https://127.0.0.1:${nexus.address.port}`, dir, dataDir });
}

export function authorityAt(t: TestContext, at: { nexus: Nexus; url: string; dir: string; dataDir: string }): TestAuthority {
	const operator = readFileSync(join(at.dataDir, "operator.token"), "utf8").trim();
	const anybody = new Caller(t, at.url);
	const operate = async (path: string, options: CallOptions, status: number): Promise<Answer> => {
		const answer = await anybody.call(path, { token: operator, ...options });
		assert.equal(answer.status, status, answer.text);
		return answer;
	};
	const joinToken = async (service: string, uses = 1, ttl = "10m"): Promise<string> => {
		return String((await operate("/v1/tokens", { body: { service, uses, ttl } }, 201)).json.token);
	};
	return {
		...at,
		operator,
		anybody,
		operate,
		joinToken,
		status: async () => (await operate("/v1/authority", {}, 200)).json as unknown as AuthorityState,
		async joined(service) {
			const workload = new Workload(t, at.url, service);
			await workload.join(await joinToken(service));
			return workload;
		},
	};
}

/** Looks again until it is so; what is not so within the deadline fails with the words. */
export async function until<T>(look: () => Promise<T | undefined | false> | T | undefined | false, words: string): Promise<T> {
	const giveUpAtMs = performance.now() + DEADLINE_MS;
	for (;;) {
		const found = await look();
		if (found !== undefined && found !== false) return found;
		if (performance.now() > giveUpAtMs) assert.fail(`not within ${DEADLINE_MS} ms: ${words}`);
		await new Promise((resolve) => setTimeout(resolve, 10));
	}
}
