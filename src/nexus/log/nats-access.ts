/** A connection to NATS, for the log and the state alike: where to, as whom, and over TLS or not. */
import type { Authenticator, NatsConnection, TlsOptions } from "@nats-io/transport-node";
import type { NatsLogin } from "../config/engine-choice.ts";
import { connectFault, type EngineTls, hostOf, tlsParts } from "../engines/engine-tls.ts";

export interface NatsAccess {
	/** `host:port` of one or more members of the cluster. */
	readonly servers: readonly string[];
	/** Undefined: nobody in particular. */
	readonly login?: NatsLogin;
	/** Undefined: as the servers want it, with the roots of this machine. */
	readonly tls?: EngineTls;
}

/** A server that vanished without a word is noticed after two of them. */
const PING_MS = 5_000;

/** Rejects with a sentence that names the servers. Secrets and files are read now. */
export async function connectNats({ servers, login, tls }: NatsAccess, name: string): Promise<NatsConnection> {
	const transport = await import("@nats-io/transport-node");
	try {
		return await transport.connect({
			servers: [...servers],
			name,
			// Done above, where it is known what must be asked again; the client's own would send what was given up.
			reconnect: false,
			pingInterval: PING_MS,
			maxPingOut: 2,
			...(login === undefined ? {} : { authenticator: authenticatorOf(login, transport) }),
			...(tls === undefined ? {} : { tls: { handshakeFirst: false, ...tlsParts(tls, servers.map(hostOf)) } as TlsOptions }),
		});
	} catch (thrown) {
		throw new Error(`NATS at ${servers.join(", ")}: ${connectFault(thrown, tls !== undefined)}`, { cause: thrown });
	}
}

function authenticatorOf(login: NatsLogin, transport: typeof import("@nats-io/transport-node")): Authenticator {
	switch (login.kind) {
		case "token":
			return transport.tokenAuthenticator(login.token.read());
		case "password":
			return transport.usernamePasswordAuthenticator(login.user, login.password.read());
		case "nkey":
			return transport.nkeyAuthenticator(Buffer.from(login.seed.read()));
		case "creds":
			// The library reads no last line that does not end.
			return transport.credsAuthenticator(Buffer.from(`${login.creds.read()}\n`));
	}
}
