/**
 * Services for the examples of these pages: `node docs/services.mjs fails:3001 fine:3002 slow:3003 echo:3004 inbox:3005`. Each listens on
 * loopback and answers as its name says; `echo` shows the request that it got, `inbox` those that were posted to it.
 */
import { once } from "node:events";
import { createServer } from "node:http";

const SLOW_MS = 500;

/** What is kept of a request that was posted: what a webhook is told beside the event. */
const SHOWN = /^(content-type|ce-.*|webhook-id)$/;
const POSTED_MAX = 100;

const KINDS = {
	fails: (_request, response) => response.writeHead(503).end("no\n"),
	fine: (_request, response) => response.end("yes\n"),
	slow: (_request, response) => setTimeout(() => response.end("late\n"), SLOW_MS),
	echo: ({ method, url, headers }, response) => response.end(`${JSON.stringify({ method, url, headers })}\n`),
	inbox: inbox(),
};

function inbox() {
	const posted = [];
	return async (request, response) => {
		if (request.method === "POST") {
			const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => SHOWN.test(name)));
			posted.push({ headers, body: (await request.toArray()).join("") });
			posted.splice(0, posted.length - POSTED_MAX);
		}
		response.end(posted.map((one) => `${JSON.stringify(one)}\n`).join(""));
	};
}

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
