/** A small DNS server on UDP (RFC 1035, RFC 2782) for tests: a table of answers, and the ways in which servers fail. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";

export type DnsAnswer =
	| { readonly kind: "A" | "AAAA"; readonly addresses: readonly string[] }
	| { readonly kind: "SRV"; readonly records: readonly { priority: number; weight: number; port: number; target: string }[] }
	/** `empty`: the name exists, such records do not. `silent`: no answer at all. */
	| { readonly kind: "nxdomain" | "servfail" | "refused" | "empty" | "silent" };

const TYPES: Readonly<Record<number, string>> = { 1: "A", 28: "AAAA", 33: "SRV" };
const RCODES: Readonly<Record<string, number>> = { servfail: 2, nxdomain: 3, refused: 5 };

export class DnsServer {
	readonly #socket: Socket;
	readonly #answers = new Map<string, DnsAnswer>();
	readonly #watchers: (() => void)[] = [];
	/** `TYPE name` of each datagram. */
	readonly questions: string[] = [];

	constructor(socket: Socket) {
		this.#socket = socket;
		socket.on("message", (message, { port, address }) => {
			const reply = this.#reply(message);
			if (reply !== undefined) socket.send(reply, port, address);
			for (const watcher of this.#watchers.splice(0)) watcher();
		});
	}

	static async start(): Promise<DnsServer> {
		const socket = createSocket("udp4");
		socket.bind(0, "127.0.0.1");
		await once(socket, "listening");
		return new DnsServer(socket);
	}

	/** As `servers` of a policy takes it. */
	get address(): string {
		return `127.0.0.1:${this.#socket.address().port}`;
	}

	/** What `type` questions about `name` are answered with from now on; NXDOMAIN for whatever was never set. */
	set(type: "A" | "AAAA" | "SRV", name: string, answer: DnsAnswer): void {
		this.#answers.set(`${type} ${name}`, answer);
	}

	/** The next datagram has been answered, or deliberately not. */
	nextQuestion(): Promise<void> {
		return new Promise((resolve) => this.#watchers.push(resolve));
	}

	async stop(): Promise<void> {
		this.#socket.close();
		await once(this.#socket, "close");
	}

	#reply(message: Buffer): Buffer | undefined {
		const labels: string[] = [];
		let at = 12;
		for (let length = message[at] ?? 0; length !== 0; length = message[at] ?? 0) {
			labels.push(message.toString("latin1", at + 1, at + 1 + length));
			at += 1 + length;
		}
		const type = TYPES[message.readUInt16BE(at + 1)] ?? "?";
		const key = `${type} ${labels.join(".").toLowerCase()}`;
		this.questions.push(key);
		const answer: DnsAnswer = this.#answers.get(key) ?? { kind: "nxdomain" };
		if (answer.kind === "silent") return undefined;
		const records = recordsOf(answer);
		const head = Buffer.alloc(12);
		message.copy(head, 0, 0, 2);
		head.writeUInt16BE(0x8180 | (RCODES[answer.kind] ?? 0), 2); // answer, recursion desired and available
		head.writeUInt16BE(1, 4);
		head.writeUInt16BE(records.length, 6);
		return Buffer.concat([head, message.subarray(12, at + 5), ...records]);
	}
}

function recordsOf(answer: DnsAnswer): Buffer[] {
	switch (answer.kind) {
		case "A":
			return answer.addresses.map((address) => record(1, Buffer.from(address.split(".").map(Number))));
		case "AAAA":
			return answer.addresses.map((address) => record(28, ipv6(address)));
		case "SRV":
			return answer.records.map(({ priority, weight, port, target }) => {
				const fixed = Buffer.alloc(6);
				fixed.writeUInt16BE(priority, 0);
				fixed.writeUInt16BE(weight, 2);
				fixed.writeUInt16BE(port, 4);
				return record(33, Buffer.concat([fixed, nameOf(target)]));
			});
		default:
			return [];
	}
}

/** A record about the name in the question (a pointer to byte 12), good for a minute. */
function record(type: number, data: Buffer): Buffer {
	const head = Buffer.alloc(12);
	head.writeUInt16BE(0xc00c, 0);
	head.writeUInt16BE(type, 2);
	head.writeUInt16BE(1, 4);
	head.writeUInt32BE(60, 6);
	head.writeUInt16BE(data.length, 10);
	return Buffer.concat([head, data]);
}

function nameOf(name: string): Buffer {
	const labels = name.split(".").filter((label) => label !== "");
	return Buffer.concat([...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, "latin1")])), Buffer.from([0])]);
}

function ipv6(address: string): Buffer {
	const [left = "", right] = address.split("::");
	const groups = (text: string) => (text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16)));
	const [before, after] = [groups(left), groups(right ?? "")];
	const all = right === undefined ? before : [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
	const bytes = Buffer.alloc(16);
	all.forEach((group, i) => {
		bytes.writeUInt16BE(group, 2 * i);
	});
	return bytes;
}
