/** How the clients of a Kafka log reach their brokers: where to, as whom, and over TLS or not. */
import { isIP } from "node:net";
import type { BaseOptions, ConnectionPool } from "@platformatic/kafka";
import type { KafkaLogin } from "../config/engine-choice.ts";
import { type EngineTls, type TlsParts, tlsParts } from "../engines/engine-tls.ts";
import { READ_TIMEOUT_MS } from "./broker.ts";

export interface KafkaAccess {
	/** `host:port` of one or more brokers. */
	readonly brokers: readonly string[];
	/** By SASL; undefined: nobody in particular. */
	readonly login?: KafkaLogin;
	/** Undefined: plain text. */
	readonly tls?: EngineTls;
}

/** How clients are made that reach the brokers so. */
export interface KafkaClients {
	readonly options: Omit<BaseOptions, "clientId">;
	/** Each client, before it is used. */
	prepared<Client extends { readonly connections: ConnectionPool }>(client: Client): Client;
}

/** For clients that are made now: files are read, the password again whenever a broker asks for it. Throws a readable error. */
export function clientsOf({ brokers, login, tls }: KafkaAccess): KafkaClients {
	// What cannot be read is told here, in our words.
	login?.password.read();
	let calling = "";
	const parts = tls === undefined ? undefined : tlsParts(tls, []);
	return {
		options: {
			bootstrapBrokers: [...brokers],
			retries: 0,
			timeout: READ_TIMEOUT_MS,
			connectTimeout: READ_TIMEOUT_MS,
			...(login === undefined ? {} : { sasl: { mechanism: login.mechanism, username: login.user, password: () => login.password.read() } }),
			...(parts === undefined ? {} : { tls: withName(parts, () => calling) }),
		},
		prepared(client) {
			client.connections.on("connecting", ({ broker, connection }) => {
				calling = broker.host;
				// A connection that is lost while it logs in tells so twice, and the library listens once: the other one would end the process.
				connection.on("error", () => {});
			});
			return client;
		},
	};
}

/**
 * Brokers name others, by names or addresses, and each is known by the host that it is called at unless all have one name. The library reads
 * this as it connects, right after it has told where to.
 */
function withName(parts: TlsParts, calling: () => string): NonNullable<BaseOptions["tls"]> {
	return {
		...parts,
		get servername() {
			const name = parts.servername ?? calling();
			// An address is no name that could be asked for (RFC 6066 section 3), and Node would throw.
			return isIP(name) === 0 ? name : undefined;
		},
	};
}
