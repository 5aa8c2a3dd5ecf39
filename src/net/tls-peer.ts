/** What a finished handshake tells of the peer, for whoever decides about it. Nothing of it is judged here. */
import type { TLSSocket } from "node:tls";
import type { TlsCause } from "./tls-cause.ts";

/** More than any chain of a mesh or of the web: leaf, intermediates, and a root that need not be there. */
const CHAIN_LENGTH_MAX = 10;

export interface ShownPeer {
	/** DER, leaf first; empty where the peer has shown none. On the server side of a resumed session the leaf alone. */
	readonly chain: readonly Uint8Array[];
	/** No certificates were exchanged: they are those of the session that is resumed, and were verified when it began. */
	readonly resumed: boolean;
	/** The name that the caller asks for (SNI), "" for none. */
	readonly serverName: string;
	/** "" where none was agreed on. */
	readonly alpn: string;
	readonly protocol: string;
	/** What OpenSSL finds wrong with the chain, "" for nothing. Of use only where it knows the roots. */
	readonly libraryVerdict: string;
}

/** What a verify callback returns: whatever it knows of a good peer, or why it is refused. */
export interface Verified {
	readonly ok: true;
}

export interface Refused {
	readonly ok: false;
	readonly reason: TlsCause;
	readonly words: string;
}

/** Has no public name. */
interface Insides {
	_releaseControl?: () => void;
	servername?: string | false | null;
}

/** `remembered`: the chain of the session that may be resumed; the calling side is shown none then. */
export function shownBy(socket: TLSSocket, remembered?: readonly Uint8Array[]): ShownPeer {
	const resumed = socket.isSessionReused();
	return {
		chain: resumed && remembered !== undefined ? remembered : chainOf(socket),
		resumed,
		serverName: (socket as unknown as Insides).servername || "",
		alpn: socket.alpnProtocol || "",
		protocol: socket.getProtocol() ?? "",
		libraryVerdict: socket.authorizationError === null || socket.authorizationError === undefined ? "" : String(socket.authorizationError),
	};
}

/** Leaf first, in the order in which the peer has sent it. */
function chainOf(socket: TLSSocket): Uint8Array[] {
	const chain: Uint8Array[] = [];
	let certificate = socket.getPeerX509Certificate();
	while (certificate !== undefined && chain.length < CHAIN_LENGTH_MAX) {
		chain.push(certificate.raw);
		certificate = certificate.issuerCertificate;
	}
	return chain;
}

/**
 * Once the handshake is done, Node keeps errors of TLS to itself until its server takes the socket over, and does not close on them either.
 * Ours have no such server.
 */
export function closeOnTlsErrors(socket: TLSSocket): void {
	(socket as unknown as Insides)._releaseControl?.();
	socket.on("_tlsError", (error: Error) => {
		if (!socket.destroyed) socket.destroy(error);
	});
}

/** For the ALPN option: names of one to 255 bytes, each behind its length (RFC 7301 3.1). */
export function alpnList(names: readonly string[]): Buffer {
	return Buffer.concat(
		names.map((name) => {
			const bytes = Buffer.from(name, "latin1");
			if (bytes.length === 0 || bytes.length > 255) throw new RangeError(`an ALPN name has 1 to 255 bytes, not ${bytes.length}`);
			return Buffer.concat([Buffer.from([bytes.length]), bytes]);
		}),
	);
}
