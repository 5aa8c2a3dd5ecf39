/** Nexus as commands call it: the client, with what the flags say of where Nexus is, who calls, and whom to believe that it is Nexus. */
import { readFile } from "node:fs/promises";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { NexusClient, NexusError } from "../client/nexus-client.ts";
import { tokenFault } from "../client/nodes.ts";
import { type HttpTransportOptions, httpTransport, type Transport } from "../client/transport.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import { readRoots, trustDomainOf } from "../identity/authority-dir.ts";
import { type Certificate, readCertificate } from "../identity/certificate.ts";
import { pemOf } from "../identity/pem.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import type { CliIo } from "./io.ts";

export interface NexusFlags {
	readonly url: string;
	/** A file with a token, in place of the variable NEXUS_TOKEN. */
	readonly tokenFile?: string;
	/** Roots of the mesh, PEM. */
	readonly ca?: string;
}

export interface OpenNexus {
	readonly client: NexusClient;
	/** As in `http://127.0.0.1:7400`. */
	readonly origin: string;
	/** Believes these as well from the next call on: a root that is to follow, told by Nexus itself. PEM. */
	trust(pem: string): void;
}

/** What a command refuses by itself, in words. */
export class CommandRefused extends Error {}

const TIMEOUT_MS = 10_000;
const NEXUS_SERVICE = "nexus";
/** A token as RFC 6750 2.1 lets it be written. */
const TOKEN = /^[A-Za-z0-9._~+/=-]{1,8192}$/;

/** Opens the API, and tells in one line what went wrong. Resolves with what `act` does, or with 1. */
export async function withNexus(command: string, flags: NexusFlags, io: CliIo, act: (nexus: OpenNexus) => Promise<number>): Promise<number> {
	const nexus = await openNexus(flags);
	const refuse = (message: string): number => {
		io.stderr.write(`nexus ${command}: ${message}\n`);
		return 1;
	};
	if (typeof nexus === "string") return refuse(nexus);
	try {
		return await act(nexus);
	} catch (thrown) {
		if (!(thrown instanceof NexusError) && !(thrown instanceof CommandRefused)) throw thrown;
		return refuse(thrown instanceof NexusError ? refusalText(thrown) : thrown.message);
	}
}

/** What Nexus says, and what a person at a terminal does about it. */
export function refusalText({ status, message }: NexusError): string {
	return status === 401 ? `${message} Here: --token-file FILE, or the variable NEXUS_TOKEN.` : message;
}

/** A string says what is wrong with the flags; it never quotes the token. */
export async function openNexus(flags: NexusFlags, env: NodeJS.ProcessEnv = process.env, clock: Clock = systemClock): Promise<OpenNexus | string> {
	const base = URL.parse(flags.url);
	if (base === null || !/^https?:$/.test(base.protocol)) return `--url ${flags.url} is not an http URL, as in http://127.0.0.1:7400`;
	const token = await tokenOf(flags.tokenFile, env.NEXUS_TOKEN);
	if (token !== undefined && "fault" in token) return token.fault;
	const fault = tokenFault(base, token?.text);
	if (fault !== undefined) return `${fault}: use https:// with --ca`;
	if (flags.ca !== undefined && base.protocol === "http:") return `--ca is for https://, and the URL is ${base.origin}`;
	const roots = flags.ca === undefined ? undefined : await rootsOf(flags.ca);
	if (typeof roots === "string") return roots;
	const transport = new CommandTransport(base, token?.text, roots);
	const client = new NexusClient({ transport, clock, timeoutMs: TIMEOUT_MS });
	return { client, origin: base.origin, trust: (pem) => transport.trust(pem) };
}

/** Over the client's own transport: where Nexus is not there, it says what to do about it. */
class CommandTransport implements Transport {
	readonly #base: URL;
	readonly #token: string | undefined;
	/** Undefined: those of the system. */
	#roots: readonly Certificate[] | undefined;
	#inner: Transport;

	constructor(base: URL, token: string | undefined, roots: readonly Certificate[] | undefined) {
		this.#base = base;
		this.#token = token;
		this.#roots = roots;
		this.#inner = this.#open();
	}

	trust(pem: string): void {
		const further = readRoots(pem);
		if (this.#roots === undefined || typeof further === "string") return;
		const known = new Set(this.#roots.map(({ fingerprint }) => fingerprint));
		const unknown = further.filter(({ fingerprint }) => !known.has(fingerprint));
		if (unknown.length === 0) return;
		this.#roots = [...this.#roots, ...unknown];
		this.#inner = this.#open();
	}

	async send(...[path, request]: Parameters<Transport["send"]>): Promise<Response> {
		try {
			return await this.#inner.send(path, request);
		} catch (thrown) {
			if (!(thrown instanceof NexusError) || thrown.status !== 0) throw thrown;
			throw new NexusError(unreachable(this.#base, thrown), 0, "", { cause: thrown });
		}
	}

	socketTarget(path: string): ReturnType<Transport["socketTarget"]> {
		return this.#inner.socketTarget(path);
	}

	#open(): Transport {
		const url = this.#base.href;
		return httpTransport({ url, ...(this.#token !== undefined && { token: this.#token }), ...(this.#roots && trustIn(this.#roots)) });
	}
}

function trustIn(roots: readonly Certificate[]): Required<Pick<HttpTransportOptions, "ca" | "checkServerIdentity">> {
	const ca = roots.map(({ der }) => pemOf(der, "CERTIFICATE")).join("");
	const domains = new Set(roots.map((root) => trustDomainOf(root)));
	return {
		ca,
		checkServerIdentity: (host: string, certificate: PeerCertificate): Error | undefined => {
			const fault = nexusFault(certificate.raw, domains);
			return fault === undefined ? undefined : fault === "no identity" ? checkServerIdentity(host, certificate) : new Error(fault);
		},
	};
}

/** In the mesh the identity counts, not the host name: Nexus is Nexus wherever it is reached. */
function nexusFault(der: Uint8Array, domains: ReadonlySet<string | undefined>): string | undefined {
	const reading = readCertificate(der);
	const uri = reading.ok ? reading.certificate.names.uris.find((each) => each.startsWith("spiffe://")) : undefined;
	if (uri === undefined) return "no identity";
	const id = parseSpiffeId(uri);
	if (id.ok && id.id.service === NEXUS_SERVICE && domains.has(id.id.trustDomain)) return undefined;
	return `${uri.slice(0, 200)} answers there, which is not Nexus`;
}

async function tokenOf(file: string | undefined, variable: string | undefined): Promise<{ text: string } | { fault: string } | undefined> {
	let text = variable ?? "";
	if (file !== undefined) {
		try {
			text = await readFile(file, "utf8");
		} catch (thrown) {
			return { fault: `--token-file cannot be read: ${messageOf(thrown)}` };
		}
	}
	text = text.trim();
	if (text === "" && file === undefined) return undefined;
	return TOKEN.test(text) ? { text } : { fault: `${file === undefined ? "NEXUS_TOKEN" : `--token-file ${file}`} holds no token` };
}

async function rootsOf(file: string): Promise<readonly Certificate[] | string> {
	try {
		const roots = readRoots(await readFile(file, "utf8"));
		return typeof roots === "string" ? `--ca ${file} cannot be used: ${roots}` : roots;
	} catch (thrown) {
		return `--ca cannot be read: ${messageOf(thrown)}`;
	}
}

/** What OpenSSL says of a chain that leads to no root that it knows. */
const UNKNOWN_AUTHORITY = new Set([
	"SELF_SIGNED_CERT_IN_CHAIN",
	"DEPTH_ZERO_SELF_SIGNED_CERT",
	"UNABLE_TO_GET_ISSUER_CERT",
	"UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
	"UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** OpenSSL as well, by code, or in words where it was writing when it noticed. */
const NOT_TLS = /wrong.version.number|packet.length.too.long/i;

function unreachable({ origin }: URL, { message, cause }: NexusError): string {
	const code = codeOf(cause) ?? "";
	if (UNKNOWN_AUTHORITY.has(code)) return `what answers at ${origin} shows a certificate of an authority that is not trusted: is --ca its ca.pem?`;
	if (NOT_TLS.test(code === "EPROTO" ? message : code)) return `${origin} does not speak TLS: use http://`;
	return `${message}. Start it with \`nexus serve\`, or say where it is with --url`;
}
