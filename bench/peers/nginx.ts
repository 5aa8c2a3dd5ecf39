/** nginx, one worker in one process, connections to the origin kept alive; the log buffered, as its manual advises for load. */
import { writeFile } from "node:fs/promises";
import { findProgram, versionOf } from "../machine.ts";
import type { Launch, Peer, Plan } from "./peer.ts";

export const nginx: Peer = {
	name: "nginx",
	find() {
		const program = findProgram("nginx");
		if (program === undefined) return { kind: "missing", install: "apt-get install nginx-light" };
		return { kind: "found", version: versionOf(program, ["-v"], /nginx\/(\S+)/), prepare: (plan) => prepare(program, plan) };
	},
};

async function prepare(program: string, { workspace, port, originPort, accessLog }: Plan): Promise<Launch> {
	const config = workspace.file("nginx.conf");
	const log = workspace.file("nginx-access.log");
	await writeFile(
		config,
		`daemon off;
master_process off;
pid ${workspace.file("nginx.pid")};
error_log stderr warn;
worker_rlimit_nofile 20000;
events { worker_connections 18000; }
http {
	access_log ${accessLog ? `${log} combined buffer=64k flush=1s` : "off"};
	keepalive_requests 1000000000;
	client_body_temp_path ${workspace.file("nginx-body")};
	proxy_temp_path ${workspace.file("nginx-proxy")};
	upstream origin {
		server 127.0.0.1:${originPort};
		keepalive 128;
		keepalive_requests 1000000000;
	}
	server {
		listen 127.0.0.1:${port} backlog=4096;
		location / {
			proxy_pass http://origin;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
		}
	}
}
`,
	);
	const launch = { command: program, args: ["-c", config, "-p", workspace.dir, "-e", "stderr"] };
	return accessLog ? { ...launch, accessLogFile: log } : launch;
}
