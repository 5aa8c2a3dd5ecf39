/** How the clients of a Kafka log reach their brokers: where to, as whom, and over TLS or not. */
import { isIP } from "node:net";
import type { BaseOptions, ConnectionPool } from "@platformatic/kafka";
import type { KafkaLogin } from "../engine-choice.ts";
import { type EngineTls, hostOf, tlsParts } from "../engine-tls.ts";
import { READ_TIMEOUT_MS } from "./broker.ts";

export interface KafkaAccess {
	/** `host:port` of one or more brokers. */
	readonly brokers: readonly string[];
	/** By SASL; undefined: nobody in particular. */
	readonly login?: KafkaLogin;
	/** Undefined: plain text. */
	readonly tls?: EngineTls;
}

/** Of a client that is made now: files are read, the password again whenever a broker asks for it. Throws a readable error. */
export function accessOf({ brokers, login, tls }: KafkaAccess): Omit<BaseOptions, "clientId"> {
	// What cannot be read is told here, in our words.
	login?.password.read();
	return {
		bootstrapBrokers: [...brokers],
		retries: 0,
		timeout: READ_TIMEOUT_MS,
		connectTimeout: READ_TIMEOUT_MS,
		...(login === undefined ? {} : { sasl: { mechanism: login.mechanism, username: login.user, password: () => login.password.read() } }),
		...(tls === undefined ? {} : tlsOf(tls, brokers)),
	};
}

/** A connection that is lost while it logs in tells so twice, and the library listens once: the other one would end the process. */
export function heard<Client extends { readonly connections: ConnectionPool }>(client: Client): Client {
	client.connections.on("connecting", ({ connection }) => void connection.on("error", () => {}));
	return client;
}

/** Brokers name others, so that each is known by the host that it is called at, unless all have one name. */
function tlsOf(tls: EngineTls, brokers: readonly string[]): Pick<BaseOptions, "tls" | "tlsServerName"> {
	const { secureContext, checkServerIdentity } = tlsParts(tls, []);
	if (tls.serverName !== undefined) return { tls: { secureContext, checkServerIdentity }, tlsServerName: tls.serverName };
	// An address is no name that could be asked for (RFC 6066 section 3).
	return { tls: { secureContext, checkServerIdentity }, tlsServerName: brokers.every((broker) => isIP(hostOf(broker)) === 0) };
}
