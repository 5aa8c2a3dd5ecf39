/**
 * A program: one instance of the service that the mesh calls. Argument: JSON of `ServiceOptions`. It answers after a time that has a tail,
 * and can be told to be slow or to fail.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { seededRng } from "../../src/core/rng.ts";
import { CONTROL_PATH, parseManner, type ServiceOptions } from "./service-options.ts";

const [argument] = process.argv.slice(2);
if (argument === undefined) throw new Error("usage: service.ts JSON");

const options = JSON.parse(argument) as ServiceOptions;
const body = Buffer.alloc(options.bodyBytes, "a");
const rng = seededRng(options.seed);
let manner = parseManner({});
let stopping = false;

const server = createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
	request.resume();
	if (request.url?.startsWith(CONTROL_PATH) === true) return control(request, response);
	// Health checks as well: an instance that fails or is slow says so.
	setTimeout(answer, latencyMs(), response);
});

function answer(response: ServerResponse): void {
	const failed = rng() < manner.failureRate;
	if (stopping) response.shouldKeepAlive = false;
	response.writeHead(failed ? 503 : 200, { "content-length": body.length }).end(body);
}

// Exponential above a floor, mean 1 x, p99 about 2.4 x: services have a tail, and without one hedging would have nothing to do.
function latencyMs(): number {
	return options.latencyMs * manner.latencyFactor * (0.6 - 0.4 * Math.log(1 - rng()));
}

function control(request: IncomingMessage, response: ServerResponse): void {
	const { searchParams } = new URL(request.url ?? "", "http://service");
	manner = parseManner(Object.fromEntries(searchParams));
	response.writeHead(200, { "content-length": 0, connection: "close" }).end();
}

// As a deployment stops an instance: no new connections, what is in flight is answered, then the end.
process.once("SIGTERM", () => {
	stopping = true;
	server.close(() => process.exit(0));
	setInterval(() => server.closeIdleConnections(), 5);
});

server.listen({ host: "127.0.0.1", port: options.port, backlog: 4096 });
