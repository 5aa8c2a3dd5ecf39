/** HAProxy at either end of a hop with mutual TLS, one thread. */
import { writeFile } from "node:fs/promises";
import { findProgram } from "../machine.ts";
import type { Launch } from "../peers/peer.ts";
import { CALLEE } from "./certificates.ts";
import type { EndPlan } from "./ends.ts";

export const haproxyProgram = (): string | undefined => findProgram("haproxy");

/** TLS in, plain text out. */
export function haproxyCallee(program: string, plan: EndPlan): Promise<Launch> {
	const { ca, callee } = plan.certificates;
	const bind = `ssl crt ${callee.combined} ca-file ${ca} verify required alpn http/1.1 ssl-min-ver TLSv1.3`;
	return launch(program, "callee", plan, bind, "");
}

/** Plain text in, TLS out. */
export function haproxyCaller(program: string, plan: EndPlan): Promise<Launch> {
	const { ca, caller } = plan.certificates;
	const server = `ssl crt ${caller.combined} ca-file ${ca} verify required sni str(${CALLEE}) alpn http/1.1 ssl-min-ver TLSv1.3`;
	return launch(program, "caller", plan, "", server);
}

async function launch(program: string, end: string, { workspace, port, nextPort }: EndPlan, bind: string, server: string): Promise<Launch> {
	const config = workspace.file(`haproxy-${end}.cfg`);
	await writeFile(
		config,
		`global
	maxconn 8000
	nbthread 1
	tune.ssl.default-dh-param 2048
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	timeout http-keep-alive 75s
	http-reuse always
frontend in
	bind 127.0.0.1:${port} backlog 4096 ${bind}
	default_backend next
backend next
	server next 127.0.0.1:${nextPort} pool-max-conn -1 ${server}
`,
	);
	return { command: program, args: ["-db", "-f", config], stdout: workspace.file(`haproxy-${end}.log`) };
}
