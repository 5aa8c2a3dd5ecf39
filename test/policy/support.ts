/** Loading a policy in a test: its snapshot, or its faults as one line each. */
import assert from "node:assert/strict";
import { formatFaults, loadPolicy } from "../../src/policy/load.ts";
import type { RoutePolicy, Snapshot, UpstreamPolicy } from "../../src/policy/snapshot.ts";

const WALL_MS = Date.UTC(2026, 0, 1);

export function snapshotOf(text: string, env: Record<string, string> = {}): Snapshot {
	const result = loadPolicy(text, "p.yaml", env, 1, WALL_MS);
	assert.ok(result.ok, result.ok ? "" : formatFaults(result.faults, text));
	return result.snapshot;
}

/** `line:column path: message | hint` */
export function faultsOf(text: string): string[] {
	const result = loadPolicy(text, "p.yaml", {}, 1, WALL_MS);
	assert.ok(!result.ok, `the policy was accepted:\n${text}`);
	return result.faults.map(({ place, path, message, hint }) => `${place.line}:${place.column} ${path}: ${message}${hint === "" ? "" : ` | ${hint}`}`);
}

export function upstreamOf(snapshot: Snapshot, name: string): UpstreamPolicy {
	const upstream = snapshot.upstreams.get(name);
	assert.ok(upstream !== undefined, name);
	return upstream;
}

export function routeOf(snapshot: Snapshot, name: string): RoutePolicy {
	const route = snapshot.outbound?.routes.find((one) => one.name === name);
	assert.ok(route !== undefined, name);
	return route;
}
