/** Real certificates made for a test, and both ends of TLS set up around them. */
import "reflect-metadata";
import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import { type ConnectionOptions, connect, type SecureContext, type TLSSocket } from "node:tls";
import {
	BasicConstraintsExtension,
	ExtendedKeyUsageExtension,
	KeyUsageFlags,
	KeyUsagesExtension,
	PublicKey,
	SubjectAlternativeNameExtension,
	X509CertificateGenerator,
} from "@peculiar/x509";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { DeadlineWheel } from "../../src/core/deadline-wheel.ts";
import { Listener } from "../../src/net/listener.ts";
import { LoopMemory } from "../../src/net/loop-memory.ts";
import type { ReadyStream } from "../../src/net/ready-stream.ts";
import { makeSecureContext, type SecureContextOptions, SecureContexts } from "../../src/net/secure-contexts.ts";
import { TlsAcceptor } from "../../src/net/tls-accept.ts";
import type { FailedPeer, TlsAcceptOptions, TlsMode } from "../../src/net/tls-arrival.ts";
import type { TlsFailure } from "../../src/net/tls-cause.ts";
import { HANDSHAKE_LIMITS, type HandshakeLimits, Handshakes } from "../../src/net/tls-handshakes.ts";
import type { ShownPeer } from "../../src/net/tls-peer.ts";
import { RawClient } from "../support/raw-peer.ts";
import { Collector } from "./support.ts";

const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const DAY_MS = 24 * 3_600_000;
const SIGNING = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export interface Made {
	/** PEM. */
	readonly certificate: string;
	readonly key: string;
	readonly der: Buffer;
	readonly pair: KeyObject;
	readonly name: string;
}

export interface MadeSpec {
	readonly name: string;
	/** Undefined: signs itself. */
	readonly issuer?: Made;
	readonly authority?: boolean;
	/** Of an authority: how many others may stand below it. */
	readonly pathLength?: number;
	readonly dns?: readonly string[];
	readonly usages?: readonly string[];
	readonly fromMs?: number;
	readonly untilMs?: number;
}

export async function make(spec: MadeSpec): Promise<Made> {
	const { name, issuer, authority = false, pathLength, dns = [], usages = [SERVER_AUTH, CLIENT_AUTH] } = spec;
	const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
	const signer = await crypto.subtle.importKey("pkcs8", (issuer?.pair ?? privateKey).export({ type: "pkcs8", format: "der" }), SIGNING, false, [
		"sign",
	]);
	const certificate = await X509CertificateGenerator.create({
		serialNumber: `01${randomBytes(8).toString("hex")}`,
		subject: `CN=${name}`,
		issuer: `CN=${issuer?.name ?? name}`,
		notBefore: new Date(spec.fromMs ?? Date.now() - DAY_MS),
		notAfter: new Date(spec.untilMs ?? Date.now() + DAY_MS),
		publicKey: new PublicKey(createPublicKey(privateKey).export({ type: "spki", format: "der" })),
		signingKey: signer,
		signingAlgorithm: SIGNING,
		extensions: authority
			? [new BasicConstraintsExtension(true, pathLength, true), new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true)]
			: [
					new BasicConstraintsExtension(false, undefined, true),
					new ExtendedKeyUsageExtension([...usages]),
					...(dns.length > 0 ? [new SubjectAlternativeNameExtension(dns.map((value) => ({ type: "dns", value }) as const))] : []),
				],
	});
	return {
		certificate: `${certificate.toString("pem")}\n`,
		key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
		der: Buffer.from(certificate.rawData),
		pair: privateKey,
		name,
	};
}

export interface Mesh {
	readonly root: Made;
	readonly server: Made;
	readonly client: Made;
}

let meshMade: Promise<Mesh> | undefined;

/** One authority and two services, made once for each test file. */
export function mesh(): Promise<Mesh> {
	meshMade ??= (async () => {
		const root = await make({ name: "root", authority: true });
		const [server, client] = await Promise.all([
			make({ name: "payments", issuer: root, dns: ["payments.mesh"] }),
			make({ name: "checkout", issuer: root, dns: ["checkout.mesh"] }),
		]);
		return { root, server, client };
	})();
	return meshMade;
}

export function contextOf(made: Made | undefined, options: Partial<SecureContextOptions> = {}): SecureContext {
	const outcome = makeSecureContext({ certificate: made?.certificate ?? "", key: made?.key ?? "", trust: "own", ...options });
	assert.ok(outcome.ok, outcome.ok ? "" : outcome.fault);
	return outcome.context;
}

export function contextsOf(made: Made | undefined, options: Partial<SecureContextOptions> = {}): SecureContexts {
	return new SecureContexts(contextOf(made, options));
}

/** Stopped at the end of the test. */
export function startWheel(t: TestContext, clock: Clock = systemClock): DeadlineWheel {
	const wheel = new DeadlineWheel(clock);
	t.after(() => wheel.stop());
	return wheel;
}

export interface Peer {
	readonly ok: true;
	readonly shown: ShownPeer;
}

export interface Denied {
	readonly ok: false;
	readonly reason: "tls_cert_revoked";
	readonly words: string;
}

export type Outcome =
	| { readonly kind: "ready"; readonly stream: ReadyStream<Peer>; readonly reader: Collector }
	| { readonly kind: "failed"; readonly failure: TlsFailure | Denied; readonly peer: FailedPeer };

export class Acceptance {
	readonly acceptor: TlsAcceptor<Peer, Denied>;
	readonly handshakes: Handshakes;
	readonly listener: Listener;
	readonly contexts: SecureContexts;
	readonly shared: LoopMemory;
	readonly shown: ShownPeer[] = [];
	gone = 0;
	readonly #outcomes: Outcome[] = [];
	readonly #waiting: ((outcome: Outcome) => void)[] = [];

	constructor(parts: Pick<Acceptance, "acceptor" | "handshakes" | "listener" | "contexts" | "shared">) {
		this.acceptor = parts.acceptor;
		this.handshakes = parts.handshakes;
		this.listener = parts.listener;
		this.contexts = parts.contexts;
		this.shared = parts.shared;
	}

	get port(): number {
		return this.listener.port;
	}

	push(outcome: Outcome): void {
		const waiting = this.#waiting.shift();
		if (waiting === undefined) this.#outcomes.push(outcome);
		else waiting(outcome);
	}

	next(): Promise<Outcome> {
		const outcome = this.#outcomes.shift();
		return outcome === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(outcome);
	}

	async ready(): Promise<{ stream: ReadyStream<Peer>; reader: Collector }> {
		const outcome = await this.next();
		assert.equal(outcome.kind, "ready", outcome.kind === "failed" ? `${outcome.failure.reason}: ${outcome.failure.words}` : "");
		return outcome as Extract<Outcome, { kind: "ready" }>;
	}

	async failed(): Promise<{ failure: TlsFailure | Denied; peer: FailedPeer }> {
		const outcome = await this.next();
		assert.equal(outcome.kind, "failed");
		return outcome as Extract<Outcome, { kind: "failed" }>;
	}
}

export interface AcceptanceOptions extends Partial<TlsAcceptOptions<Peer, Denied>> {
	readonly mode?: TlsMode;
	readonly limits?: Partial<HandshakeLimits>;
	/** Whether `onReady` names a reader and lets it read at once, as users do. */
	readonly reads?: boolean;
	readonly change?: (socket: Socket) => Socket;
	readonly clock?: Clock;
}

/** A listener whose connections go through an acceptor. */
export async function acceptance(t: TestContext, options: AcceptanceOptions = {}): Promise<Acceptance> {
	const { mode = "strict", limits, reads = true, change = (socket: Socket) => socket, clock = systemClock, ...rest } = options;
	const { server } = await mesh();
	const contexts = rest.contexts ?? contextsOf(server);
	const shared = new LoopMemory();
	const handshakes = new Handshakes(clock, { ...HANDSHAKE_LIMITS, ...limits });
	let made: Acceptance | undefined;
	const acceptor: TlsAcceptor<Peer, Denied> = new TlsAcceptor<Peer, Denied>(
		mode,
		{
			clientCertificate: "requested",
			alpn: [],
			handshakeTimeoutMs: 20_000,
			firstByteTimeoutMs: 20_000,
			answerToPlaintext: "HTTP/1.1 400 Bad Request\r\n\r\n",
			answerToRefused: () => "",
			verify: (shown) => {
				made?.shown.push(shown);
				return { ok: true, shown };
			},
			onReady: (stream) => {
				const reader = new Collector();
				stream.socket.on("error", () => {});
				t.after(() => void stream.socket.destroy());
				if (reads) {
					stream.readTo(reader);
					stream.socket.resume();
				}
				made?.push({ kind: "ready", stream, reader });
			},
			onFailed: (failure, peer) => made?.push({ kind: "failed", failure, peer }),
			onGone: () => {
				if (made !== undefined) made.gone++;
			},
			...rest,
			contexts,
		},
		startWheel(t, clock),
		shared,
		handshakes,
	);
	const listener = new Listener({
		name: "tls",
		listen: { kind: "tcp", host: "127.0.0.1", port: 0 },
		connectionsMax: 10_000,
		onConnection: (socket) => acceptor.accept(change(socket)),
		onFault: (message) => assert.fail(message),
	});
	t.after(() => {
		listener.stop();
		acceptor.destroy();
	});
	await listener.start();
	made = new Acceptance({ acceptor, handshakes, listener, contexts, shared });
	return made;
}

/** A client of Node's own, with the certificate of `checkout` unless told otherwise. */
export class TlsClient extends RawClient {
	readonly tls: TLSSocket;
	readonly sessions: Buffer[] = [];

	constructor(socket: TLSSocket) {
		super(socket);
		this.tls = socket;
		socket.on("session", (session: Buffer) => this.sessions.push(session));
	}
}

export async function tlsClient(t: TestContext, port: number, options: ConnectionOptions & { readonly bare?: boolean } = {}): Promise<TlsClient> {
	const { client } = await mesh();
	const socket = connect({
		host: "127.0.0.1",
		port,
		servername: "payments.mesh",
		rejectUnauthorized: false,
		checkServerIdentity: () => undefined,
		...(options.secureContext === undefined && options.bare !== true ? { secureContext: contextOf(client) } : {}),
		...options,
		allowHalfOpen: true,
	} as ConnectionOptions);
	t.after(() => void socket.destroy());
	return new TlsClient(socket);
}
