/** The service behind every contestant: fixed bodies, as cheap as can be had, so that the proxy is what is measured. */
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { requestOnce } from "./client.ts";
import { findProgram, versionOf } from "./machine.ts";
import { freePorts, type Workspace } from "./processes.ts";
import { waitUntil } from "./wait.ts";

/** The name under which clients ask for it, in the Host field. */
export const ORIGIN_HOST = "origin";

export interface Origin {
	readonly port: number;
	/** What serves, for the report. */
	readonly description: string;
}

/** Takes a POST of any length and answers a few bytes. */
export const UPLOAD_PATH = "/upload";

/** The path that answers with `bytes` bytes. */
export function bodyPath(bytes: number): string {
	return `/body-${bytes}`;
}

/** The bytes that the origin answers with: printable, the same for everyone, without a period that would hide a shift. */
export function bodyOf(bytes: number): Buffer {
	const body = Buffer.allocUnsafe(bytes);
	let state = bytes | 1;
	for (let i = 0; i < bytes; i++) {
		state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
		body[i] = 0x61 + ((state >>> 16) % 26);
	}
	return body;
}

/** nginx where it is installed, otherwise a small server on Node. */
export async function startOrigin(workspace: Workspace, core: number, bodies: readonly number[]): Promise<Origin> {
	const [port] = await freePorts(1);
	if (port === undefined) throw new Error("no free port");
	const files = new Map<string, string>();
	for (const bytes of bodies) {
		const file = workspace.file(`body-${bytes}`);
		await writeFile(file, bodyOf(bytes));
		files.set(bodyPath(bytes), file);
	}
	const nginx = findProgram("nginx");
	const description =
		nginx === undefined ? `node:http on ${process.version} (nginx is not installed)` : `nginx ${versionOf(nginx, ["-v"], /nginx\/(\S+)/)}`;
	const child =
		nginx === undefined
			? await workspace.start("origin", core, nodeOrigin(port, files))
			: await workspace.start("origin", core, await nginxOrigin(workspace, nginx, port, files));
	const [path] = files.keys();
	await waitUntil(async () => (await requestOnce(port, { host: ORIGIN_HOST, path: path ?? "/" })).status === 200, child);
	return { port, description };
}

async function nginxOrigin(workspace: Workspace, nginx: string, port: number, files: ReadonlyMap<string, string>) {
	const config = workspace.file("origin.conf");
	const locations = [...files].map(([path, file]) => `location = ${path} { alias ${file}; }`);
	await writeFile(
		config,
		`daemon off;
master_process off;
pid ${workspace.file("origin.pid")};
error_log stderr warn;
worker_rlimit_nofile 20000;
events { worker_connections 16000; }
http {
	access_log off;
	default_type text/plain;
	etag off;
	keepalive_requests 1000000000;
	keepalive_timeout 600s;
	client_max_body_size 0;
	client_body_temp_path ${workspace.file("uploads")};
	open_file_cache max=100;
	sendfile on;
	tcp_nopush on;
	server {
		listen 127.0.0.1:${port} backlog=4096;
		location = ${UPLOAD_PATH} { return 200 "taken"; }
		${locations.join("\n\t\t")}
	}
}
`,
	);
	return { command: nginx, args: ["-c", config, "-p", workspace.dir, "-e", "stderr"] };
}

function nodeOrigin(port: number, files: ReadonlyMap<string, string>) {
	const program = fileURLToPath(new URL("origin-server.ts", import.meta.url));
	return { command: process.execPath, args: [program, String(port), JSON.stringify([...files])] };
}
