/** What the services of the shop share: an HTTP server that stops when it is told to, and calls through the sidecar. */
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from "node:http";

export interface Answer {
	readonly status: number;
	readonly body: unknown;
}

/** Serves JSON on 127.0.0.1:APP_PORT, the address that the policy calls `inbound.application`. */
export function serve(defaultPort: number, handle: (message: IncomingMessage) => Answer | Promise<Answer>): void {
	const server = createServer(async (message, response) => {
		message.resume();
		try {
			reply(response, await handle(message));
		} catch (error) {
			reply(response, { status: 502, body: { error: String(error) } });
		}
	});
	// Longer than the sidecar keeps its connections (60 s), so that it is never us who close one just as it is used again.
	server.keepAliveTimeout = 65_000;
	server.listen(Number(process.env.APP_PORT ?? defaultPort), "127.0.0.1");
	process.on("SIGTERM", () => {
		server.close(() => process.exit(0));
		server.closeIdleConnections();
	});
	// Whoever started us is gone: nobody would stop us any more.
	process.on("disconnect", () => process.exit(0));
}

function reply(response: ServerResponse, { status, body }: Answer): void {
	response.writeHead(status, { "content-type": "application/json" });
	response.end(`${JSON.stringify(body)}\n`);
}

const agent = new Agent({ keepAlive: true });

/** A call to another service of the mesh: to the own sidecar, which finds the service by the Host. */
export function call(service: string, path: string, caused: IncomingMessage): Promise<Answer> {
	const { promise, resolve, reject } = Promise.withResolvers<Answer>();
	const headers: Record<string, string> = { host: service };
	// What belongs together stays together: the sidecar made these, and we pass them on.
	for (const name of ["traceparent", "x-request-id"]) {
		const value = caused.headers[name];
		if (typeof value === "string") headers[name] = value;
	}
	const outgoing = request({ host: "127.0.0.1", port: Number(process.env.OUTBOUND_PORT), path, headers, agent }, (response) => {
		let text = "";
		response.setEncoding("utf8");
		response.on("data", (chunk) => {
			text += chunk;
		});
		response.on("end", () => {
			try {
				resolve({ status: response.statusCode ?? 502, body: JSON.parse(text) });
			} catch (error) {
				reject(error);
			}
		});
		response.on("error", reject);
	});
	outgoing.on("error", reject);
	outgoing.end();
	return promise;
}
