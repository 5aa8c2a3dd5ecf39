/**
 * Services for the examples of these pages: `node docs/services.mjs fails:3001 fine:3002 slow:3003 echo:3004`. Each listens on loopback
 * and answers as its name says; `echo` shows the request that it got.
 */
import { once } from "node:events";
import { createServer } from "node:http";

const SLOW_MS = 500;

const KINDS = {
	fails: (_request, response) => response.writeHead(503).end("no\n"),
	fine: (_request, response) => response.end("yes\n"),
	slow: (_request, response) => setTimeout(() => response.end("late\n"), SLOW_MS),
	echo: ({ method, url, headers }, response) => response.end(`${JSON.stringify({ method, url, headers })}\n`),
};

const services = process.argv.slice(2);
await Promise.all(
	services.map((service) => {
		const [kind = "", port] = service.split(":");
		if (!Object.hasOwn(KINDS, kind)) throw new Error(`${service} is none of ${Object.keys(KINDS).join(", ")}, with a port`);
		return once(createServer(KINDS[kind]).listen(Number(port), "127.0.0.1"), "listening");
	}),
);
process.stdout.write(`${services.join(", ")}: up\n`);
process.on("SIGTERM", () => process.exit(0));
