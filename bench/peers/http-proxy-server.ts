/** A program: http-proxy with connections kept alive on both sides. Arguments: port, origin port, and the access log's file where one is wanted. */
import { createWriteStream } from "node:fs";
import { Agent, createServer, type IncomingMessage, type ServerResponse } from "node:http";
import httpProxy from "http-proxy";

const [port, originPort, logFile] = process.argv.slice(2);
if (port === undefined || originPort === undefined) throw new Error("usage: http-proxy-server.ts PORT ORIGIN_PORT [LOG]");

const proxy = httpProxy.createProxyServer({
	target: `http://127.0.0.1:${originPort}`,
	agent: new Agent({ keepAlive: true, maxSockets: 1024 }),
});
// A client that went away: the package would end the process otherwise.
proxy.on("error", (_cause, _request, response) => response.destroy());

const log = logFile === undefined ? undefined : createWriteStream(logFile);

// It has no log of its own: one line in the common log format when the reply is out.
function record(request: IncomingMessage, response: ServerResponse): void {
	const { remoteAddress } = request.socket;
	log?.write(`${remoteAddress} - - [${new Date().toISOString()}] "${request.method} ${request.url} HTTP/1.1" ${response.statusCode}\n`);
}

// 75 s as nginx: the default of 5 s would close the idle connections that are to be measured.
const server = createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
	if (log !== undefined) response.once("finish", () => record(request, response));
	proxy.web(request, response);
});
server.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
