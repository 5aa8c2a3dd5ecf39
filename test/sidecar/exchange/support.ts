/** A sidecar before endpoints that answer by hand, and what a test says to it and asks of it. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { DecisionStage, DecisionTrace } from "../../../src/policy/decision-trace.ts";
import type { FakeClock } from "../../support/fake-clock.ts";
import { type Answerer, ok, type RawClient, type RawUpstream, type RawUpstreamConnection, rawClient, rawUpstream } from "../../support/raw-peer.ts";
import { type StrictMessage, valuesOf } from "../../support/strict-reader.ts";
import { startSidecar, type TestSidecar } from "../support.ts";

export const GUARD = { timeout: 60_000 };

/** No pause between tries: of 1 ms, full jitter leaves 0. */
export const AT_ONCE = "backoff: { base: 1ms, max: 1ms }";
/** Endpoints that fail on purpose are to be tried on. */
export const NO_EJECTION = "outlierDetection: { enabled: false }";

export interface Tried extends TestSidecar {
	/** A connection to the outbound port. */
	client(): Promise<RawClient>;
	/** One request on a connection of its own. */
	ask(request: string): Promise<StrictMessage>;
}

/** `keys`: of the upstream `api`, whose endpoints are `upstreams`. `more`: further YAML, and `routes` those of outbound. */
export async function startOutbound(
	t: TestContext,
	upstreams: readonly { readonly address: string }[],
	keys: string,
	{ more = "", routes = "", clock }: { more?: string; routes?: string; clock?: FakeClock } = {},
): Promise<Tried> {
	// No process is so fast that it answers at 0, where times that are not there stand.
	clock?.advance(1);
	const outbound = `outbound: { listen: "127.0.0.1:0"${routes === "" ? "" : `, routes: [ ${routes} ]`} }\n`;
	const policy = `${outbound}upstreams:\n  api: ${upstream(upstreams, keys)}\n${more}`;
	return tried(t, await startSidecar(t, policy, clock === undefined ? {} : { clock }));
}

export function tried(t: TestContext, sidecar: TestSidecar, listener = "outbound"): Tried {
	const client = (): Promise<RawClient> => rawClient(t, sidecar.port(listener));
	return {
		...sidecar,
		client,
		async ask(request) {
			const one = await client();
			one.methods.push(request.slice(0, request.indexOf(" ")));
			return one.send(request).answer();
		},
	};
}

/** An upstream in YAML. */
export function upstream(endpoints: readonly { readonly address: string }[], keys: string): string {
	return `{ endpoints: [ ${endpoints.map(({ address }) => `{ address: "${address}" }`).join(", ")} ]${keys === "" ? "" : `, ${keys}`} }`;
}

export function get(fields = "", path = "/", host = "api"): string {
	return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`;
}

export function post(body: string, fields = "", method = "POST"): string {
	return `${method} / HTTP/1.1\r\nHost: api\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** An answer with a length. */
export function reply(status: number, body = "", fields = ""): string {
	return `HTTP/1.1 ${status} Said\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** What went where: one entry a request, in the order of their arrival over all of them. */
export interface Group {
	readonly upstreams: readonly RawUpstream[];
	readonly seen: { readonly by: number; readonly request: StrictMessage; readonly connection: RawUpstreamConnection }[];
}

/** `count` endpoints; `answer` is asked with how many requests have come before this one, over all of them, and who was asked. */
export async function group(
	t: TestContext,
	count: number,
	answer: (nth: number, by: number, request: StrictMessage, connection: RawUpstreamConnection) => string | undefined = () => ok(),
): Promise<Group> {
	const seen: Group["seen"] = [];
	const upstreams: RawUpstream[] = [];
	for (let by = 0; by < count; by++) {
		const answerer: Answerer = (request, connection) => {
			seen.push({ by, request, connection });
			return answer(seen.length - 1, by, request, connection);
		};
		upstreams.push(await rawUpstream(t, answerer));
	}
	return { upstreams, seen };
}

export function fieldOf(message: StrictMessage, name: string): string | undefined {
	return valuesOf(message, name)[0];
}

export function reasonOf(message: StrictMessage): string | undefined {
	return fieldOf(message, "x-nexus-reason");
}

/** Nothing of what requests have taken is still out. */
export function assertAllReturned(tested: TestSidecar): void {
	for (const view of tested.sidecar.upstreams()) {
		const active = view.endpoints.reduce((sum, endpoint) => sum + endpoint.activeRequests, 0);
		const pending = view.endpoints.reduce((sum, endpoint) => sum + endpoint.pool.pending, 0);
		const permits = view.breakers.reduce((sum, { underWay, probes }) => sum + underWay + probes, 0);
		const slots = (view.concurrency?.active ?? 0) + (view.concurrency?.pending ?? 0);
		assert.deepEqual({ upstream: view.name, active, pending, permits, slots }, { upstream: view.name, active: 0, pending: 0, permits: 0, slots: 0 });
	}
}

/** Nothing is decided by it: it only turns a hang into a failure that says what was waited for. */
const PATIENCE_MS = 10_000;

/** Resolves once `holds`; looked at in every turn of the event loop. */
export async function until(holds: () => boolean): Promise<void> {
	const patience = patient(holds);
	while (!holds()) {
		patience();
		await new Promise((resolve) => setImmediate(resolve));
	}
}

function patient(holds: () => boolean): () => void {
	const endMs = performance.now() + PATIENCE_MS;
	return () => assert.ok(performance.now() < endMs, `${holds}: not within ${PATIENCE_MS} ms`);
}

/** Lets a clock of the test go on until `holds`, with real turns of the event loop in between. */
export async function advanceUntil(clock: FakeClock, holds: () => boolean, stepMs = 5): Promise<void> {
	const patience = patient(holds);
	while (!holds()) {
		patience();
		clock.advance(stepMs);
		await turns();
	}
}

/** What is on its way over loopback has arrived: several turns of the event loop, each of which polls the sockets. */
export async function turns(count = 20): Promise<void> {
	for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** The newest failure that was kept. */
export function failureOf(tested: TestSidecar): DecisionTrace {
	const [newest] = tested.sidecar.failures();
	assert.ok(newest !== undefined, "no failure is kept");
	return newest;
}

/** What a stage has said, in order. */
export function said(trace: DecisionTrace, stage: DecisionStage): string[] {
	return trace.decisions.filter((decision) => decision.stage === stage).map(({ text }) => text);
}
