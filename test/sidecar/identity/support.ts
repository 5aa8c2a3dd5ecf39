/** What tests of a sidecar's identity share: an authority, certificates of services, a keeper's surroundings, and a patient look. */
import assert from "node:assert/strict";
import { type KeyObject, X509Certificate } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Clock } from "../../../src/core/clock.ts";
import { IdSource } from "../../../src/core/ids.ts";
import type { LogLevel } from "../../../src/core/log.ts";
import type { CloudEvent } from "../../../src/events/cloud-event.ts";
import { createRequest } from "../../../src/identity/certificate-request.ts";
import { createIntermediateAuthority, createRootAuthority, issueCertificate } from "../../../src/identity/issue.ts";
import type { Authority, KeyedChain } from "../../../src/identity/keyed-chain.ts";
import { type SpiffeId, spiffeIdOf } from "../../../src/identity/spiffe-id.ts";
import { EventFeed } from "../../../src/sidecar/telling/event-feed.ts";

export const TRUST_DOMAIN = "mesh.local";
export const HOUR = 3_600_000;
const YEAR = 365 * 24 * HOUR;

export interface TestAuthority {
	readonly root: Authority;
	readonly issuing: Authority;
}

export async function createAuthority(nowMs = Date.now()): Promise<TestAuthority> {
	const root = await createRootAuthority({ trustDomain: TRUST_DOMAIN, lifetimeMs: 10 * YEAR, nowMs });
	return { root, issuing: await createIntermediateAuthority(root, { trustDomain: TRUST_DOMAIN, lifetimeMs: YEAR, nowMs }) };
}

export function idOf(service: string): SpiffeId {
	const made = spiffeIdOf(TRUST_DOMAIN, service);
	assert.ok(made.ok);
	return made.id;
}

export interface IssueSpec {
	readonly lifetimeMs?: number;
	readonly nowMs?: number;
}

export async function issueFor(
	service: string,
	{ issuing }: TestAuthority,
	{ lifetimeMs = HOUR, nowMs = Date.now() }: IssueSpec = {},
): Promise<KeyedChain> {
	const id = idOf(service);
	const { key, request } = createRequest(id);
	const issued = await issueCertificate(issuing, { request, id, dnsNames: [service], lifetimeMs, nowMs });
	assert.ok(issued.ok);
	return { chain: issued.chain, key };
}

export function isKeyOf(key: KeyObject, { chain: [leaf] }: Pick<KeyedChain, "chain">): boolean {
	assert.ok(leaf);
	return new X509Certificate(leaf.der).checkPrivateKey(key);
}

export async function temporaryDirectory(t: TestContext): Promise<string> {
	const directory = await mkdtemp(join(tmpdir(), "nexus-identity-"));
	t.after(() => rm(directory, { recursive: true, force: true }));
	return directory;
}

export interface LogLine {
	readonly level: LogLevel;
	readonly message: string;
	readonly fields: Record<string, unknown>;
}

/** A log and a feed that keep all that they are told. */
export function surroundings(clock: Clock): {
	lines: LogLine[];
	events: CloudEvent[];
	log: Record<LogLevel, (message: string, fields?: Record<string, unknown>) => void>;
	feed: EventFeed;
} {
	const lines: LogLine[] = [];
	const events: CloudEvent[] = [];
	const at =
		(level: LogLevel) =>
		(message: string, fields: Record<string, unknown> = {}): void =>
			void lines.push({ level, message, fields });
	const feed = new EventFeed({ service: "payments", instance: "test-1", ids: new IdSource(), clock });
	feed.subscribe((event) => events.push(event));
	return { lines, events, log: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") }, feed };
}

/** Looks until it holds; fails after ten seconds. */
export async function eventually(holds: () => boolean, what: string): Promise<void> {
	const until = performance.now() + 10_000;
	while (!holds()) {
		assert.ok(performance.now() < until, `not within 10 s: ${what}`);
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
}
