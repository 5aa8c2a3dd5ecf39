/** Asks a sidecar's admin API, off the path that is measured. */
import { request } from "node:http";

// A reload of a large policy on a busy machine; far above every budget.
const TIMEOUT_MS = 30_000;

export interface AdminReply {
	readonly status: number;
	readonly body: string;
}

/** Rejects when the port does not answer with HTTP in time. */
export function askAdmin(port: number, method: "GET" | "POST", path: string): Promise<AdminReply> {
	return new Promise((resolve, reject) => {
		const outgoing = request({ host: "127.0.0.1", port, method, path, agent: false, timeout: TIMEOUT_MS }, (reply) => {
			const chunks: Buffer[] = [];
			reply.on("data", (chunk: Buffer) => chunks.push(chunk));
			reply.once("error", reject);
			reply.once("end", () => resolve({ status: reply.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
		});
		outgoing.once("timeout", () => outgoing.destroy(new Error(`${method} ${path} was not answered within ${TIMEOUT_MS / 1000} s`)));
		outgoing.once("error", reject);
		outgoing.end();
	});
}
