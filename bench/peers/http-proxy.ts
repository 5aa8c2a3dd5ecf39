/** The npm package http-proxy on the Node that runs the bench: what a team gets that writes its own proxy in an afternoon. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../src/core/errors.ts";
import type { Launch, Peer, Plan } from "./peer.ts";

const PROGRAM = fileURLToPath(new URL("http-proxy-server.ts", import.meta.url));

export const httpProxy: Peer = {
	name: "http-proxy",
	find() {
		try {
			const manifest = createRequire(import.meta.url).resolve("http-proxy/package.json");
			const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
			return { kind: "found", version: `${version} on Node ${process.version}`, prepare };
		} catch (thrown) {
			return { kind: "missing", install: `npm install (it is a development dependency): ${messageOf(thrown)}` };
		}
	},
};

async function prepare({ workspace, port, originPort, accessLog }: Plan): Promise<Launch> {
	const log = workspace.file("http-proxy-access.log");
	const launch = { command: process.execPath, args: [PROGRAM, String(port), String(originPort), ...(accessLog ? [log] : [])] };
	return accessLog ? { ...launch, accessLogFile: log } : launch;
}
