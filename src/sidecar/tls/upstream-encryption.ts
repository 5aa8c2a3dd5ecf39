/** How the upstreams of a policy are encrypted: by our identity inside the mesh, by host name outside of it. */
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import type { Clock } from "../../core/clock.ts";
import { messageOf } from "../../core/errors.ts";
import { parseSpiffeId } from "../../identity/spiffe-id.ts";
import type { TlsRefusal } from "../../identity/tls-refusal.ts";
import type { VerifiedPeer } from "../../identity/verify-chain.ts";
import { makeSecureContext, SecureContexts } from "../../net/secure-contexts.ts";
import type { TlsFailure } from "../../net/tls-cause.ts";
import { type TlsConnector, tlsConnector } from "../../net/tls-connector.ts";
import { dialTls, verifyByLibrary } from "../../net/tls-dial.ts";
import { alpnList, type ShownPeer } from "../../net/tls-peer.ts";
import { addressText } from "../../policy/address-text.ts";
import type { UpstreamTls } from "../../policy/identity-policy.ts";
import type { Address, Snapshot, UpstreamPolicy } from "../../policy/snapshot.ts";
import type { EncryptedDial, Encryption } from "../../upstream/encryption.ts";
import type { Http1Connection } from "../../upstream/http1-connection.ts";
import type { BindFault } from "../data-plane.ts";
import type { MeshIdentity } from "../identity/mesh-identity.ts";
import type { TlsObserver, TlsPlace } from "../identity/tls-observer.ts";

/** As Envoy's transport_socket_connect_timeout for its peers, rounded: an honest handshake needs a few round trips. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
const ALPN = alpnList(["http/1.1"]);

type External = Extract<UpstreamTls, { kind: "external" }>;

/** `peer`: undefined outside of the mesh, where a host name was checked. */
interface AcceptedPeer {
	readonly ok: true;
	readonly peer: VerifiedPeer | undefined;
}

/** By roots and version: a context with the system's roots takes 10 ms to make. */
export type ExternalContexts = ReadonlyMap<string, SecureContexts>;

/** The roots that `next` names, or what is wrong with them. */
export function externalContexts(next: Snapshot): { readonly contexts: ExternalContexts; readonly faults: readonly BindFault[] } {
	const contexts = new Map<string, SecureContexts>();
	const faults: BindFault[] = [];
	for (const { tls, name, place } of next.upstreams.values()) {
		if (tls.kind !== "external" || contexts.has(keyOf(tls))) continue;
		const made = contextsOf(tls);
		if (typeof made === "string") faults.push({ place, message: `the roots of upstream ${name} cannot be used: ${made}` });
		else contexts.set(keyOf(tls), made);
	}
	return { contexts, faults };
}

export interface EncryptionParts {
	readonly observer: TlsObserver;
	/** Undefined where the policy has none: then no upstream is of the mesh. */
	readonly identity: MeshIdentity | undefined;
	readonly externals: ExternalContexts;
	readonly clock: Clock;
}

/** Undefined: plain text. */
export function encryptionOf(
	{ name, tls }: Pick<UpstreamPolicy, "name" | "tls">,
	{ observer, identity, externals, clock }: EncryptionParts,
): Encryption | undefined {
	switch (tls.kind) {
		case "off":
			return undefined;
		case "external": {
			const contexts = externals.get(keyOf(tls));
			if (contexts === undefined) throw new Error(`the roots of upstream ${name} were not read`);
			return new ExternalEncryption(name, tls.serverName, contexts, observer, clock);
		}
		case "mesh": {
			if (identity === undefined) throw new Error(`upstream ${name} needs an identity`);
			return new MeshEncryption(name, tls.expected, identity, observer, clock);
		}
	}
}

/** Mutual TLS with a service of the mesh. */
class MeshEncryption implements Encryption {
	readonly #name: string;
	readonly #identity: MeshIdentity;
	readonly #observer: TlsObserver;
	readonly #clock: Clock;
	readonly #expected: string;
	readonly #serverName: string;
	readonly #verify: (shown: ShownPeer) => AcceptedPeer | TlsRefusal;

	constructor(name: string, uri: string, identity: MeshIdentity, observer: TlsObserver, clock: Clock) {
		const expected = parseSpiffeId(uri);
		// Policies are checked for that.
		if (!expected.ok) throw new Error(`${uri} is no SPIFFE ID`);
		const { id } = expected;
		this.#name = name;
		this.#identity = identity;
		this.#observer = observer;
		this.#clock = clock;
		this.#expected = uri;
		// A path of several segments is no host name.
		this.#serverName = id.service.includes("/") ? "" : id.service;
		this.#verify = (shown) => {
			const verdict = identity.verifyCallee(shown, id);
			return verdict.ok ? { ok: true, peer: verdict } : verdict;
		};
	}

	dial(options: EncryptedDial): Socket {
		// Asked now: another certificate may be in use by the time that this one is accepted.
		return dial(options, { ...this.#manner(), alpnRequired: true, ownUntilMs: this.#identity.ownUntilMs });
	}

	connectorTo(address: Address): TlsConnector {
		return tlsConnector({ ...this.#manner(), address, timeoutMs: HANDSHAKE_TIMEOUT_MS, clock: this.#clock });
	}

	#manner(): Manner {
		return { contexts: this.#identity.client, serverName: this.#serverName, checkHostName: false, verify: this.#verify };
	}

	onSecured(connection: Http1Connection, address: Address, resumed: boolean, ownUntilMs: number): void {
		this.#identity.watchCallee(connection, ownUntilMs);
		this.#observer.onSecured(placeOf(this.#name, address), this.#expected, resumed);
	}

	onFailed(address: Address, failure: TlsRefusal | TlsFailure): void {
		this.#observer.onFailed(placeOf(this.#name, address), failure);
	}

	onClosed(connection: Http1Connection): void {
		this.#identity.unwatch(connection);
	}
}

/** Ordinary TLS with a service outside of the mesh. */
class ExternalEncryption implements Encryption {
	readonly #name: string;
	readonly #serverName: string;
	readonly #contexts: SecureContexts;
	readonly #observer: TlsObserver;
	readonly #clock: Clock;

	constructor(name: string, serverName: string, contexts: SecureContexts, observer: TlsObserver, clock: Clock) {
		this.#name = name;
		this.#serverName = serverName;
		this.#contexts = contexts;
		this.#observer = observer;
		this.#clock = clock;
	}

	dial(options: EncryptedDial): Socket {
		return dial(options, { ...this.#manner(), alpnRequired: false, ownUntilMs: Number.POSITIVE_INFINITY });
	}

	connectorTo(address: Address): TlsConnector {
		return tlsConnector({ ...this.#manner(), address, timeoutMs: HANDSHAKE_TIMEOUT_MS, clock: this.#clock });
	}

	#manner(): Manner {
		return { contexts: this.#contexts, serverName: this.#serverName, checkHostName: true, verify: byHostName };
	}

	onSecured(_connection: Http1Connection, address: Address, resumed: boolean): void {
		this.#observer.onSecured(placeOf(this.#name, address), this.#serverName, resumed);
	}

	onFailed(address: Address, failure: TlsRefusal | TlsFailure): void {
		this.#observer.onFailed(placeOf(this.#name, address), failure);
	}

	onClosed(): void {}
}

const OUTSIDER: AcceptedPeer = Object.freeze({ ok: true, peer: undefined });

function byHostName(shown: ShownPeer): AcceptedPeer | TlsFailure {
	const verdict = verifyByLibrary(shown);
	return verdict.ok ? OUTSIDER : verdict;
}

interface Manner {
	readonly contexts: SecureContexts;
	readonly serverName: string;
	readonly checkHostName: boolean;
	readonly verify: (shown: ShownPeer) => AcceptedPeer | TlsRefusal | TlsFailure;
}

interface DialManner extends Manner {
	readonly alpnRequired: boolean;
	/** When what we show ends, wall time. */
	readonly ownUntilMs: number;
}

function dial({ address, sessions, lookup, reader, wheel, shared, onReady, onFailed }: EncryptedDial, { ownUntilMs, ...manner }: DialManner): Socket {
	return dialTls<AcceptedPeer, TlsRefusal | TlsFailure>(
		{ ...manner, alpn: ALPN, handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS, address, sessions, ...(lookup === undefined ? {} : { lookup }) },
		{ onReady: ({ peer }, { resumed }) => onReady(peer, resumed, ownUntilMs), onFailed },
		reader,
		wheel,
		shared,
	);
}

function placeOf(name: string, address: Address): TlsPlace {
	return { direction: "outbound", name, address: addressText(address) };
}

function keyOf({ ca, minVersion }: External): string {
	return `${minVersion} ${ca.kind === "file" ? ca.path : ""}`;
}

function contextsOf({ ca, minVersion }: External): SecureContexts | string {
	try {
		const trust = ca.kind === "system" ? "system" : { roots: [readFileSync(ca.path, "utf8")] };
		const made = makeSecureContext({ certificate: "", key: "", trust, minVersion });
		return made.ok ? new SecureContexts(made.context) : made.fault;
	} catch (error) {
		return messageOf(error);
	}
}
