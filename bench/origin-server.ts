/** A program: the origin on machines without nginx. Arguments: port, JSON list of [path, file]. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const [port, files] = process.argv.slice(2);
if (port === undefined || files === undefined) throw new Error("usage: origin-server.ts PORT FILES");

const bodies = new Map((JSON.parse(files) as [string, string][]).map(([path, file]) => [path, readFileSync(file)]));
const taken = Buffer.from("taken");

const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
	request.resume();
	request.once("end", () => {
		const body = request.method === "POST" ? taken : bodies.get(request.url ?? "");
		response.writeHead(body === undefined ? 404 : 200, { "content-type": "text/plain", "content-length": body?.length ?? 0 });
		response.end(body);
	});
});
server.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
