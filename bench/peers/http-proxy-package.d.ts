/** The part of http-proxy 1.18 that the bench uses; the package has no types of its own. */
declare module "http-proxy" {
	import type { EventEmitter } from "node:events";
	import type { Agent, IncomingMessage, ServerResponse } from "node:http";

	interface ProxyServer extends EventEmitter {
		web(request: IncomingMessage, response: ServerResponse): void;
		on(event: "error", listener: (cause: Error, request: IncomingMessage, response: ServerResponse) => void): this;
	}

	const httpProxy: { createProxyServer(options: { target: string; agent: Agent }): ProxyServer };
	// biome-ignore lint/style/noDefaultExport: it describes a CommonJS package
	export default httpProxy;
}
