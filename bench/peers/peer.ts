/** What a contestant must tell the bench: whether it is here, and how it is started as a plain HTTP/1.1 proxy to one origin. */
import type { Command, Workspace } from "../processes.ts";

export type PeerName = "direct" | "ours" | "nginx" | "haproxy" | "envoy" | "http-proxy";

export interface Peer {
	readonly name: PeerName;
	/** Looks for the program on this machine. */
	find(): Found | Missing;
}

export interface Found {
	readonly kind: "found";
	readonly version: string;
	/** Writes the configuration and says how to start it. Undefined: there is no proxy, clients go to the origin. */
	readonly prepare: ((plan: Plan) => Promise<Launch>) | undefined;
}

export interface Missing {
	readonly kind: "missing";
	/** A sentence for a person: how to install it. */
	readonly install: string;
}

export interface Plan {
	readonly workspace: Workspace;
	readonly port: number;
	readonly adminPort: number;
	readonly originPort: number;
	readonly accessLog: boolean;
}

export interface Launch extends Command {
	/** Path on `adminPort` that answers 200 once traffic is served; without it the first good reply counts. */
	readonly readyPath?: string;
	/** Where the access log lands, one line a request. */
	readonly accessLogFile?: string;
}
