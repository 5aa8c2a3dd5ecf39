/** A service with rules behind mutual TLS, and callers of any identity that write their requests by hand. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { TestContext } from "node:test";
import { connect } from "node:tls";
import type { Made } from "../../identity/support.ts";
import { RawClient, rawClient } from "../../support/raw-peer.ts";
import { type StrictMessage, valuesOf } from "../../support/strict-reader.ts";
import { echo, httpServer, startSidecar, type TestSidecar } from "../support.ts";
import { type CertificateFolder, certificateFolder } from "../tls/support.ts";

export interface Guarded {
	readonly sidecar: TestSidecar;
	readonly folder: CertificateFolder;
	/** The policy with these rules in the place of those before; waits until it acts. */
	reload(authorization: string): Promise<void>;
	/** A connection of that service; "" in plain text. */
	client(service: string): Promise<RawClient>;
	/** Status of one request over a connection of its own. */
	status(service: string, head: string): Promise<number>;
}

export interface GuardedOptions {
	readonly app?: Parameters<typeof httpServer>[1];
	/** `host:port`, in the place of `app`. */
	readonly address?: string;
	/** Further keys of `inbound`, each with a comma before it. */
	readonly inbound?: string;
}

/** Service `payments`. `authorization`: YAML in flow style; "" for none. */
export async function guarded(t: TestContext, authorization: string, options: GuardedOptions = {}): Promise<Guarded> {
	const { app = echo("payments"), inbound = "" } = options;
	const folder = await certificateFolder(t);
	const address = options.address ?? (await httpServer(t, app)).address;
	const identity = folder.identityOf("payments", await folder.issue("payments"));
	const policy = (rules: string): string =>
		`${identity}accessLog: { sample: 1 }\ninbound:\n  { listen: 127.0.0.1:0, application: ${address}${inbound}${rules === "" ? "" : `, authorization: ${rules}`} }\n`;
	const sidecar = await startSidecar(t, policy(authorization), { service: "payments" });
	const port = sidecar.port("inbound");
	const made = new Map<string, Promise<Made>>();
	const client = async (service: string): Promise<RawClient> => {
		if (service === "") return rawClient(t, port);
		const certificate = made.get(service) ?? folder.issue(service);
		made.set(service, certificate);
		return tlsClient(t, port, folder.pemOf(await certificate));
	};
	return {
		sidecar,
		folder,
		async reload(rules) {
			sidecar.write(policy(rules));
			assert.equal((await sidecar.sidecar.reload()).kind, "applied");
		},
		client,
		status: async (service, head) => (await ask(await client(service), head)).status,
	};
}

/** `head`: start line and further fields, such as `GET /a` or `GET /a\r\nx-a: 1`; version and Host are added. */
export async function ask(client: RawClient, head: string, index = 0): Promise<StrictMessage> {
	const [line = "", ...fields] = head.split("\r\n");
	client.send(`${line} HTTP/1.1\r\nHost: payments\r\n${fields.map((field) => `${field}\r\n`).join("")}\r\n`);
	return client.answer(index);
}

export function reasonOf(answer: StrictMessage): string {
	return valuesOf(answer, "x-nexus-reason")[0] ?? "";
}

/** Lines of the access log so far, once there are as many. */
export async function accessLog({ sidecar }: Guarded, atLeast: number): Promise<Record<string, unknown>[]> {
	const file = join(dirname(sidecar.policyFile), "access");
	for (const untilMs = performance.now() + 10_000; ; ) {
		const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
		if (lines.length >= atLeast) return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
		assert.ok(performance.now() < untilMs, `${lines.length} lines of ${atLeast} within 10 s`);
		await new Promise((resolve) => setTimeout(resolve, 10));
	}
}

async function tlsClient(t: TestContext, port: number, { cert, key, ca }: ReturnType<CertificateFolder["pemOf"]>): Promise<RawClient> {
	const socket = connect({ host: "127.0.0.1", port, cert, key, ca, ALPNProtocols: ["http/1.1"], checkServerIdentity: () => undefined });
	t.after(() => void socket.destroy());
	const client = new RawClient(socket);
	await new Promise<void>((resolve, reject) => {
		socket.once("secureConnect", resolve);
		socket.once("error", reject);
	});
	return client;
}
