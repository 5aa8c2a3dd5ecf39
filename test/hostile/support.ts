/** A real sidecar in this process, on ports that the system chose, with a policy that a test writes. */

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import type { Reason } from "../../src/core/reasons.ts";
import { systemRng } from "../../src/core/rng.ts";
import { formatFaults, loadPolicy } from "../../src/policy/load.ts";
import type { UpstreamView } from "../../src/sidecar/admin/view.ts";
import { Sidecar } from "../../src/sidecar/sidecar.ts";
import { createLogger } from "../../src/telemetry/log.ts";
import type { StrictMessage } from "../support/strict-reader.ts";
import { valuesOf } from "../support/strict-reader.ts";

export interface Running {
	readonly sidecar: Sidecar;
	/** Bound port of a listener: `inbound`, `outbound`, `admin` or the name of an upstream with a port of its own. */
	port(name: string): number;
	upstream(name: string): UpstreamView;
}

/** `policy`: YAML; `admin` and `service` are added. Closed at the end of the test. */
export async function runSidecar(t: TestContext, policy: string, adminPort = 0): Promise<Running> {
	const text = `service: tested\nadmin: { listen: 127.0.0.1:${adminPort} }\ndrainTimeout: 100ms\n${policy}`;
	const file = "/nowhere/policy.yaml";
	const loaded = loadPolicy(text, file, {}, 1);
	assert.ok(loaded.ok, loaded.ok ? "" : formatFaults(loaded.faults, text));
	const log = createLogger({ level: "error", destination: "/dev/null" });
	const sidecar = new Sidecar("tested", {
		configFile: file,
		env: {},
		clock: systemClock,
		rng: systemRng,
		log,
		version: "0.0.0",
		accessLogDestination: "/dev/null",
	});
	const faults = await sidecar.start(loaded.snapshot);
	assert.deepEqual(faults, [], formatFaults(faults, text));
	t.after(async () => {
		await sidecar.close("api");
		await log.flush(100);
	});
	return {
		sidecar,
		port(name) {
			const listener = sidecar.listeners().find((candidate) => candidate.name === name);
			assert.ok(listener !== undefined, `no listener ${name}`);
			return Number(listener.address.slice(listener.address.lastIndexOf(":") + 1));
		},
		upstream(name) {
			const view = sidecar.upstreams().find((candidate) => candidate.name === name);
			assert.ok(view !== undefined, `no upstream ${name}`);
			return view;
		},
	};
}

/** A sidecar before one application, as the mesh calls it: `limits`, `timeout` and `pool` as in the policy, in YAML flow style. */
export function runInbound(
	t: TestContext,
	application: string,
	options: { limits?: string; timeout?: string; pool?: string; more?: string } = {},
): Promise<Running> {
	const { limits = "{}", timeout = "{}", pool = "{}", more = "" } = options;
	return runSidecar(
		t,
		`inbound: { listen: 127.0.0.1:0, application: "${application}", limits: ${limits}, timeout: ${timeout}, pool: ${pool}${more} }\n`,
	);
}

/** The reason of a local answer, in header and body. */
export function assertReason(answer: StrictMessage, status: number, reason: Reason): void {
	assert.equal(answer.status, status, `${answer.startLine} ${answer.body.toString()}`);
	assert.deepEqual(valuesOf(answer, "x-nexus-reason"), [reason]);
	const problem = JSON.parse(answer.body.toString()) as { status: number; reason: string };
	assert.deepEqual([problem.status, problem.reason], [status, reason]);
}
