/** Our sidecars at either end of a hop with mutual TLS, as a user starts them. */
import { writeFile } from "node:fs/promises";
import { ORIGIN_HOST } from "../origin.ts";
import { launchSidecar } from "../peers/ours.ts";
import type { Launch } from "../peers/peer.ts";
import { CALLEE, type Identity } from "./certificates.ts";
import type { EndPlan } from "./ends.ts";

/** TLS in, plain text out. */
export function ourCallee(plan: EndPlan): Promise<Launch> {
	const { port, nextPort, certificates } = plan;
	const rest = `inbound: { listen: 127.0.0.1:${port}, application: 127.0.0.1:${nextPort} }\n`;
	return launch(plan, CALLEE, certificates.callee, rest);
}

/** Plain text in, TLS out. */
export function ourCaller(plan: EndPlan): Promise<Launch> {
	const { port, nextPort, certificates } = plan;
	const upstream = `{ endpoints: [{ address: 127.0.0.1:${nextPort} }], tls: { service: ${CALLEE} } }`;
	return launch(plan, "caller", certificates.caller, `outbound: { listen: 127.0.0.1:${port} }\nupstreams: { ${ORIGIN_HOST}: ${upstream} }\n`);
}

async function launch(plan: EndPlan, service: string, { cert, key }: Identity, rest: string): Promise<Launch> {
	const { workspace, adminPort, certificates } = plan;
	const config = workspace.file(`ours-${service}.yaml`);
	const identity = `identity: { files: { cert: ${cert}, key: ${key}, ca: ${certificates.ca} } }\n`;
	await writeFile(config, `service: ${service}\nadmin: { listen: 127.0.0.1:${adminPort} }\n${identity}${rest}`);
	return launchSidecar({ workspace, accessLog: false }, config);
}
