/** How connections to the endpoints of an upstream are encrypted, and who hears of it. */
import type { LookupFunction, Socket } from "node:net";
import type { DeadlineWheel } from "../core/deadline-wheel.ts";
import type { TlsRefusal } from "../identity/tls-refusal.ts";
import type { VerifiedPeer } from "../identity/verify-chain.ts";
import type { ByteReader } from "../net/byte-socket.ts";
import type { LoopMemory } from "../net/loop-memory.ts";
import type { TlsFailure } from "../net/tls-cause.ts";
import type { TlsConnector } from "../net/tls-connector.ts";
import type { TlsSessions } from "../net/tls-sessions.ts";
import type { Address } from "../policy/snapshot.ts";
import type { Http1Connection } from "./http1-connection.ts";

export interface EncryptedDial {
	readonly address: Address;
	/** Of the endpoint. */
	readonly sessions: TlsSessions;
	readonly lookup: LookupFunction | undefined;
	readonly reader: ByteReader;
	readonly wheel: DeadlineWheel;
	readonly shared: LoopMemory;
	/** `peer`: undefined outside of the mesh, where a host name was checked. `ownUntilMs`: when what we have shown ends, wall time. */
	readonly onReady: (peer: VerifiedPeer | undefined, resumed: boolean, ownUntilMs: number) => void;
	/** Instead of `onReady`, once connected; errors before that are the socket's. */
	readonly onFailed: (failure: TlsRefusal | TlsFailure) => void;
}

/** Of one upstream; shared by its connections. */
export interface Encryption {
	dial(options: EncryptedDial): Socket;
	/** For the HTTP client of health checks. */
	connectorTo(address: Address): TlsConnector;
	onSecured(connection: Http1Connection, address: Address, resumed: boolean, ownUntilMs: number): void;
	onFailed(address: Address, failure: TlsRefusal | TlsFailure): void;
	/** A connection that was secured is closed. */
	onClosed(connection: Http1Connection): void;
}
