/** The nodes of Nexus that a client was told of. It asks one of them until that one does not answer. */

export class Nodes {
	readonly count: number;
	readonly #nodes: readonly [URL, ...URL[]];
	#at = 0;

	/** Throws a TypeError for what is no URL of HTTP, and for a token that would go over a network in the clear. */
	constructor(urls: readonly string[], token: string | undefined) {
		const [first, ...others] = urls.map((url) => nodeOf(url, token));
		if (first === undefined) throw new TypeError("there is no URL, as in http://127.0.0.1:7400");
		this.#nodes = [first, ...others];
		this.count = urls.length;
	}

	get current(): URL {
		return this.#nodes[this.#at] ?? this.#nodes[0];
	}

	/** Nobody answers there. Others may have noticed before. */
	failed({ host }: URL): void {
		if (host === this.current.host) this.#at = (this.#at + 1) % this.count;
	}
}

/** Why a token must not go there; undefined where it may. */
export function tokenFault({ protocol, host, hostname }: URL, token: string | undefined): string | undefined {
	if (token === undefined || protocol === "https:" || isLocal(hostname)) return undefined;
	return `a token in plain text to ${host} could be read on its way`;
}

function nodeOf(url: string, token: string | undefined): URL {
	const node = URL.canParse(url) ? new URL(url) : undefined;
	if (node === undefined || !/^https?:$/.test(node.protocol)) throw new TypeError(`${url} is not an http URL, as in http://127.0.0.1:7400`);
	const fault = tokenFault(node, token);
	if (fault !== undefined) throw new TypeError(`${fault}: use https://`);
	return node;
}

function isLocal(hostname: string): boolean {
	const name = hostname.replace(/^\[|\]$/g, "");
	return name === "localhost" || name === "::1" || /^127\.\d+\.\d+\.\d+$/.test(name);
}
