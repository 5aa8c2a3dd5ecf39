/** HAProxy, one thread; its log on standard output straight into a file, which costs it one write a line and needs no syslog daemon beside it. */
import { writeFile } from "node:fs/promises";
import { findProgram, versionOf } from "../machine.ts";
import type { Launch, Peer, Plan } from "./peer.ts";

export const haproxy: Peer = {
	name: "haproxy",
	find() {
		const program = findProgram("haproxy");
		if (program === undefined) return { kind: "missing", install: "apt-get install haproxy" };
		return { kind: "found", version: versionOf(program, ["-v"], /version (\d+\.\d+\.\d+)/), prepare: (plan) => prepare(program, plan) };
	},
};

async function prepare(program: string, { workspace, port, originPort, accessLog }: Plan): Promise<Launch> {
	const config = workspace.file("haproxy.cfg");
	// maxconn 8000 takes 16,000 descriptors, which fits into the common limit of 20,000.
	await writeFile(
		config,
		`global
	maxconn 8000
	nbthread 1
	${accessLog ? "log stdout format raw local0 info" : ""}
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	timeout http-keep-alive 75s
	http-reuse always
	${accessLog ? "log global\n\toption httplog" : ""}
frontend in
	bind 127.0.0.1:${port} backlog 4096
	default_backend origin
backend origin
	server origin 127.0.0.1:${originPort} pool-max-conn -1
`,
	);
	const stdout = workspace.file("haproxy.log");
	// -db: stays in the foreground, one process.
	const launch = { command: program, args: ["-db", "-f", config], stdout };
	return accessLog ? { ...launch, accessLogFile: stdout } : launch;
}
