/** What the data plane tells of TLS, for whoever counts, logs and sends events. */
import type { TlsRefusal } from "../../identity/tls-refusal.ts";
import type { TlsFailure } from "../../net/tls-cause.ts";

/** Where it happened: a listener that was called, or an upstream that we call. */
export interface TlsPlace {
	readonly direction: "inbound" | "outbound";
	/** `inbound`, or the name of the upstream. */
	readonly name: string;
	/** `host:port` of the endpoint, or the address of the caller without port. */
	readonly address: string;
}

export interface TlsObserver {
	/** A connection is encrypted, and its peer is who it must be. `peer`: SPIFFE ID, or the host name outside of the mesh. */
	onSecured(place: TlsPlace, peer: string, resumed: boolean): void;
	/** Plain text where TLS was possible: `permissive`. */
	onPlaintext(place: TlsPlace): void;
	/** A connection was not made, or not let in. */
	onFailed(place: TlsPlace, failure: TlsFailure | TlsRefusal): void;
	/** One that stood was cut: its peer is not trusted any more. */
	onCut(refusal: TlsRefusal): void;
}
