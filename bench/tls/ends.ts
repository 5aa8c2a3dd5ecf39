/** Who can stand at which end of a hop with mutual TLS: the one who calls, and the one who is called. */
import { findEnvoy } from "../peers/envoy.ts";
import type { Launch } from "../peers/peer.ts";
import type { Workspace } from "../processes.ts";
import type { Certificates } from "./certificates.ts";
import { envoyCallee, envoyCaller } from "./envoy.ts";
import { haproxyCallee, haproxyCaller, haproxyProgram } from "./haproxy.ts";
import { nginxCallee, nginxProgram } from "./nginx.ts";
import { ourCallee, ourCaller } from "./ours.ts";

export interface EndPlan {
	readonly workspace: Workspace;
	readonly port: number;
	readonly adminPort: number;
	/** Of what stands behind it. */
	readonly nextPort: number;
	readonly certificates: Certificates;
}

export const TLS_NAMES = ["nginx", "haproxy", "ours", "envoy", "envoy, h2 between"] as const;
export type TlsName = (typeof TLS_NAMES)[number];

export interface Ends {
	readonly name: TlsName;
	/** Undefined where it does not stand there. */
	readonly caller: ((plan: EndPlan) => Promise<Launch>) | undefined;
	readonly callee: (plan: EndPlan) => Promise<Launch>;
}

/** Those that are installed, ours first. */
export function findEnds(): Ends[] {
	const ends: Ends[] = [];
	const nginx = nginxProgram();
	const haproxy = haproxyProgram();
	const envoy = findEnvoy();
	if (nginx !== undefined) ends.push({ name: "nginx", caller: undefined, callee: (plan) => nginxCallee(nginx, plan) });
	if (haproxy !== undefined)
		ends.push({ name: "haproxy", caller: (plan) => haproxyCaller(haproxy, plan), callee: (plan) => haproxyCallee(haproxy, plan) });
	ends.push({ name: "ours", caller: ourCaller, callee: ourCallee });
	if (envoy !== undefined) {
		ends.push({
			name: "envoy",
			caller: (plan) => envoyCaller(envoy, plan, "http/1.1"),
			callee: (plan) => envoyCallee(envoy, plan, "http/1.1"),
		});
		ends.push({
			name: "envoy, h2 between",
			caller: (plan) => envoyCaller(envoy, plan, "h2"),
			callee: (plan) => envoyCallee(envoy, plan, "h2"),
		});
	}
	return ends;
}
