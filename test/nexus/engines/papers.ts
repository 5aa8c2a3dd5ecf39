/** Certificates and passwords for a broker and its client, in files of a folder of their own. */
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type Made, make } from "../../net/tls-support.ts";
import { temporaryDir } from "../support.ts";

export const USER = "nexus";
export const PASSWORD = "hunter2-the-first";
export const NEXT_PASSWORD = "hunter2-the-second";
export const WRONG_PASSWORD = "hunter2-the-wrong";
/** No secret may be in anything that is shown; each of them begins so. */
export const SECRETS = /hunter2|PRIVATE KEY/;
/** Of the server, besides `localhost`; and not 127.0.0.1. */
export const SERVER_NAME = "broker.test";

/**
 * `ca.crt` has issued `server` and `client`; `other-ca.crt`, of which the server knows nothing at first, has issued `next-server`, `next-client`
 * and `stranger`. Each with its key in `NAME.key`, and both in `NAME.pem`.
 */
export class Papers {
	readonly dir: string;

	private constructor(dir: string) {
		this.dir = dir;
	}

	static async make(t: TestContext): Promise<Papers> {
		const papers = new Papers(temporaryDir(t));
		const dns = ["localhost", SERVER_NAME];
		const [ca, other] = await Promise.all([make({ name: "ca", authority: true }), make({ name: "other", authority: true })]);
		const [server, client, nextServer, nextClient, stranger] = await Promise.all([
			make({ name: "server", issuer: ca, dns }),
			make({ name: USER, issuer: ca }),
			make({ name: "server", issuer: other, dns }),
			make({ name: USER, issuer: other }),
			make({ name: "stranger", issuer: other }),
		]);
		papers.write("ca.crt", ca.certificate);
		papers.write("other-ca.crt", other.certificate);
		papers.write("both-ca.crt", ca.certificate + other.certificate);
		for (const [name, made] of Object.entries({ server, client, "next-server": nextServer, "next-client": nextClient, stranger }))
			papers.#writePair(name, made);
		papers.write("password", PASSWORD);
		papers.write("wrong", WRONG_PASSWORD);
		return papers;
	}

	path(name: string): string {
		return join(this.dir, name);
	}

	write(name: string, text: string): void {
		writeFileSync(this.path(name), text.endsWith("\n") ? text : `${text}\n`, { mode: 0o600 });
	}

	/** As `broker.crt`, `broker.key` and `broker-ca.crt`, for servers whose configuration stays as it is. */
	dress(server: string, ca: string): void {
		for (const end of [".crt", ".key", ".pem"]) copyFileSync(this.path(server + end), this.path(`broker${end}`));
		copyFileSync(this.path(ca), this.path("broker-ca.crt"));
	}

	#writePair(name: string, { certificate, key }: Made): void {
		this.write(`${name}.crt`, certificate);
		this.write(`${name}.key`, key);
		this.write(`${name}.pem`, key + certificate);
	}
}
