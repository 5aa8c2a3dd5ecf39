/** nginx that takes mutual TLS, one worker in one process. */
import { writeFile } from "node:fs/promises";
import { findProgram } from "../machine.ts";
import type { Launch } from "../peers/peer.ts";
import type { EndPlan } from "./ends.ts";

export const nginxProgram = (): string | undefined => findProgram("nginx");

export async function nginxCallee(program: string, { workspace, port, nextPort, certificates: { ca, callee } }: EndPlan): Promise<Launch> {
	const config = workspace.file("nginx-callee.conf");
	await writeFile(
		config,
		`daemon off;
master_process off;
pid ${workspace.file("nginx-callee.pid")};
error_log stderr error;
worker_rlimit_nofile 20000;
events { worker_connections 18000; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path ${workspace.file("nginx-callee-body")};
	proxy_temp_path ${workspace.file("nginx-callee-proxy")};
	upstream next {
		server 127.0.0.1:${nextPort};
		keepalive 128;
		keepalive_requests 1000000000;
	}
	server {
		listen 127.0.0.1:${port} ssl backlog=4096;
		ssl_certificate ${callee.cert};
		ssl_certificate_key ${callee.key};
		ssl_client_certificate ${ca};
		ssl_verify_client on;
		ssl_verify_depth 3;
		ssl_protocols TLSv1.3;
		ssl_session_cache shared:tls:10m;
		location / {
			proxy_pass http://next;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
		}
	}
}
`,
	);
	return { command: program, args: ["-c", config, "-p", workspace.dir, "-e", "stderr"] };
}
