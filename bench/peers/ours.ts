/** Our sidecar as a user starts it, with what is on by default: outbound listener, host routing, pool, deadlines, ids, metrics. */
import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { ORIGIN_HOST } from "../origin.ts";
import type { Launch, Peer, Plan } from "./peer.ts";

const PROGRAM = fileURLToPath(new URL("../../bin/nexus", import.meta.url));

export const ours: Peer = {
	name: "ours",
	find() {
		if (!existsSync(PROGRAM)) return { kind: "missing", install: "bin/nexus is not in this checkout" };
		const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
		return { kind: "found", version: `${version} on Node ${process.version}`, prepare };
	},
};

async function prepare(plan: Plan): Promise<Launch> {
	const config = plan.workspace.file("ours.yaml");
	await writeFile(config, policyOf(plan));
	return launchSidecar(plan, config);
}

/** What a policy says besides the least that it must: lines of YAML without indentation, and whole blocks. */
export interface PolicyParts {
	readonly ofOrigin?: readonly string[];
	readonly ofOutbound?: readonly string[];
	readonly moreUpstreams?: string;
	readonly rest?: string;
}

/** One upstream with one endpoint, named by the Host field. */
export function policyOf({ port, adminPort, originPort, accessLog }: Omit<Plan, "workspace">, parts: PolicyParts = {}): string {
	const indented = (lines: readonly string[], by: string) => lines.map((line) => `${by}${line}\n`).join("");
	return `service: bench
admin: { listen: 127.0.0.1:${adminPort} }
outbound:
  listen: 127.0.0.1:${port}
${indented(parts.ofOutbound ?? [], "  ")}upstreams:
  ${ORIGIN_HOST}:
    endpoints:
      - { address: 127.0.0.1:${originPort} }
${indented(parts.ofOrigin ?? [], "    ")}${parts.moreUpstreams ?? ""}${parts.rest ?? ""}${accessLog ? "accessLog: { sample: 1.0, format: json }\n" : ""}`;
}

/** The same command for every measurement of ours: the Node that runs the bench runs the sidecar. */
export function launchSidecar(plan: Pick<Plan, "workspace" | "accessLog">, config: string): Launch {
	const stdout = plan.workspace.file("ours.log");
	return {
		command: process.execPath,
		args: [PROGRAM, "sidecar", "--config", config],
		readyPath: "/readyz",
		stdout,
		...(plan.accessLog ? { accessLogFile: stdout } : {}),
	};
}
