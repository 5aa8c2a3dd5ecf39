/** The answer to one request of a local API: writes head and body in the framing that the client understands. */
import type { Socket } from "node:net";
import { chunkSizeLine, fieldLine, lastChunk, statusLine } from "../http1/serializer.ts";
import { statusPhrase } from "../http1/status-phrases.ts";
import type { ByteReader } from "../net/byte-socket.ts";
import type { SharedPart } from "./shared-part.ts";

/** What an answer needs of the connection that it goes to. */
export interface AnswerWire {
	readonly socket: Socket;
	/** Whether the connection ends with this answer, as far as is known by now. */
	readonly mustClose: boolean;
	/** The `date` field line of this second (RFC 9110 section 6.6.1). */
	dateLine(): string;
	/** All of the answer is written. */
	answered(close: boolean): void;
	/** The answer cannot be completed: the client must see that it is cut off. */
	abort(): void;
	/** The connection speaks another protocol from here on; its bytes go to `taker`. */
	switchTo(taker: ByteReader): Socket;
}

export interface AnswerTo {
	readonly headRequest: boolean;
	/** Of HTTP/1.x. */
	readonly minorVersion: number;
	/** Whether an HTTP/1.0 client asked to keep the connection. */
	readonly keepAlive: boolean;
}

/** How the end of the body is known: RFC 9112 section 6.3. */
type BodyFraming = "none" | "length" | "chunked" | "close";

const LAST_CHUNK = lastChunk("");
const CHUNKED_LINE = fieldLine("transfer-encoding", "chunked");
const CLOSE_LINE = fieldLine("connection", "close");
const KEEP_ALIVE_LINE = fieldLine("connection", "keep-alive");
const UNKNOWN = -1;
/** Fields that follow from the connection and the framing. */
const OURS: ReadonlySet<string> = new Set(["connection", "keep-alive", "transfer-encoding", "date"]);

export class ServerResponse {
	readonly #wire: AnswerWire;
	readonly #to: AnswerTo;
	#status = 0;
	/** Start line and fields of the handler; what depends on framing and connection is added when it is sent. */
	#head = "";
	#length = UNKNOWN;
	#framing: BodyFraming = "none";
	#written = 0;
	#close = false;
	#isLast = false;
	#state: "unsent" | "streaming" | "ended" | "lost" = "unsent";
	readonly #closers: (() => void)[] = [];
	readonly #drainers: (() => void)[] = [];
	#onClientEnd: (() => void) | undefined;

	constructor(wire: AnswerWire, to: AnswerTo) {
		this.#wire = wire;
		this.#to = to;
	}

	/** Whether it is too late for another answer: the head is sent, or the client is gone. */
	get headersSent(): boolean {
		return this.#state !== "unsent";
	}

	/** Whether nothing can be written any more: all is said, or the client is gone. */
	get ended(): boolean {
		return this.#state === "ended" || this.#state === "lost";
	}

	/** Bytes that wait for the client to take them. */
	get unsentBytes(): number {
		return this.#wire.socket.writableLength;
	}

	/** True while the client has not caught up with what was written; `onDrain` tells when it has. */
	get needsDrain(): boolean {
		return this.#wire.socket.writableNeedDrain;
	}

	/**
	 * Prepares the head; it is sent with the first byte of the body, and may be replaced until then. `connection`, `transfer-encoding` and
	 * `date` are not the handler's; `content-length` may be left out.
	 */
	writeHead(status: number, headers: Readonly<Record<string, string | number>> = {}): this {
		if (this.#state === "lost") return this;
		if (this.#state !== "unsent") throw new Error("the head of the answer is sent already");
		let head = statusLine(status, statusPhrase(status));
		let length = UNKNOWN;
		for (const name in headers) {
			const value = headers[name] as string | number;
			const lower = name.toLowerCase();
			if (lower === "content-length") length = byteCount(value);
			else if (OURS.has(lower)) throw new TypeError(`${name} is not for a handler to say`);
			else head += fieldLine(name, String(value));
		}
		this.#status = status;
		this.#head = head;
		this.#length = length;
		return this;
	}

	/** The connection ends with this answer. */
	endConnection(): this {
		this.#isLast = true;
		return this;
	}

	/** Sends the head at once, before there is a body. */
	flushHead(): this {
		if (this.#state === "unsent") this.#wire.socket.write(this.#start(UNKNOWN), "latin1");
		return this;
	}

	/** One part of the body. False where the client should be waited for (`needsDrain`), or is gone. */
	write(part: string | Buffer): boolean {
		if (this.#state === "lost") return false;
		if (this.#state === "ended") throw new Error("the answer has ended");
		this.flushHead();
		const bytes = Buffer.byteLength(part);
		this.#written += bytes;
		if (this.#framing === "length" && this.#written > this.#length) this.#misannounced();
		if (this.#framing === "none" || bytes === 0) return !this.needsDrain;
		const { socket } = this.#wire;
		if (this.#framing !== "chunked") return socket.write(part);
		if (typeof part === "string") return socket.write(`${chunkSizeLine(bytes)}${part}\r\n`);
		socket.cork();
		socket.write(chunkSizeLine(bytes), "latin1");
		socket.write(part);
		const ready = socket.write("\r\n", "latin1");
		socket.uncork();
		return ready;
	}

	/** As `write`, of a part that other answers send as well. */
	writeShared({ bytes, chunk }: SharedPart): boolean {
		if (this.#framing !== "chunked" || this.#state !== "streaming") return this.write(bytes);
		this.#written += bytes.length;
		return this.#wire.socket.write(chunk);
	}

	/** The rest of the body, or all of it. Nothing happens where the client is gone. */
	end(part: string | Buffer = ""): void {
		if (this.#state === "lost") return;
		if (this.#state === "unsent") this.#endAtOnce(part);
		else {
			this.write(part);
			if (this.#framing === "length" && this.#written !== this.#length) this.#misannounced();
			if (this.#framing === "chunked") this.#wire.socket.write(LAST_CHUNK, "latin1");
		}
		this.#state = "ended";
		this.#runClosers();
		this.#wire.answered(this.#close);
	}

	/**
	 * Instead of an answer (RFC 9110 section 7.8): the connection belongs to the caller, who writes the 101, and its bytes to `taker`. It still counts as one of
	 * the server's. Throws where an answer has begun, or the request has a body.
	 */
	switchProtocols(taker: ByteReader): Socket {
		if (this.#state !== "unsent") throw new Error("the head of the answer is sent already");
		const socket = this.#wire.switchTo(taker);
		this.#state = "ended";
		this.#runClosers();
		return socket;
	}

	/** Cuts the answer off, and the connection with it. */
	destroy(): void {
		if (this.#state !== "ended") this.#wire.abort();
	}

	/** Runs `callback` whenever the client has caught up with what was written. */
	onDrain(callback: () => void): void {
		this.#drainers.push(callback);
	}

	/** Runs `callback` once, when the answer has ended or the client is gone; at once if that is past. */
	onClose(callback: () => void): void {
		if (this.ended) callback();
		else this.#closers.push(callback);
	}

	/**
	 * Runs `callback` once when the client has sent its last byte: it may have gone away, or still want its answer. For those who keep it waiting.
	 */
	onClientEnd(callback: () => void): void {
		this.#onClientEnd = callback;
	}

	/** For the connection: the client has sent its last byte. */
	clientEnded(): void {
		if (!this.ended) this.#onClientEnd?.();
	}

	/** For the connection: the client took all that was written. */
	drained(): void {
		for (const drainer of this.#drainers) drainer();
	}

	/** For the connection: it is closed. */
	lost(): void {
		if (this.ended) return;
		this.#state = "lost";
		this.#runClosers();
	}

	#runClosers(): void {
		for (const closer of this.#closers.splice(0)) closer();
	}

	/** Head and body in one write: what nearly every answer is. */
	#endAtOnce(part: string | Buffer): void {
		const bytes = Buffer.byteLength(part);
		const head = this.#start(bytes);
		const { socket } = this.#wire;
		if (this.#framing === "none" || bytes === 0) socket.write(head, "latin1");
		// As many bytes as characters: it is ASCII, and can share a string with the head.
		else if (typeof part === "string" && part.length === bytes) socket.write(head + part, "latin1");
		else {
			socket.cork();
			socket.write(head, "latin1");
			socket.write(part);
			socket.uncork();
		}
	}

	/** Decides framing and connection; returns the head. `bytes`: of the whole body, or UNKNOWN while it goes on. */
	#start(bytes: number): string {
		if (this.#status === 0) throw new Error("an answer has no head yet");
		const { headRequest, minorVersion, keepAlive } = this.#to;
		const withoutBody = this.#status === 204 || this.#status === 304;
		if (this.#length === UNKNOWN && !withoutBody && !(headRequest && bytes <= 0)) this.#length = bytes;
		else if (!withoutBody && !headRequest && bytes !== UNKNOWN && bytes !== this.#length) {
			throw new Error(`the answer has ${bytes} bytes, and announces ${this.#length}`);
		}
		let head = this.#head + this.#wire.dateLine();
		// RFC 9110 section 8.6: not with a 204.
		if (this.#length !== UNKNOWN && this.#status !== 204) head += `content-length: ${this.#length}\r\n`;
		if (withoutBody || headRequest) this.#framing = "none";
		else if (this.#length !== UNKNOWN) this.#framing = "length";
		else if (minorVersion === 0) this.#framing = "close";
		else {
			this.#framing = "chunked";
			head += CHUNKED_LINE;
		}
		this.#close = this.#framing === "close" || this.#isLast || this.#wire.mustClose;
		if (this.#close) head += CLOSE_LINE;
		else if (minorVersion === 0 && keepAlive) head += KEEP_ALIVE_LINE;
		this.#state = "streaming";
		return `${head}\r\n`;
	}

	#misannounced(): never {
		this.destroy();
		throw new Error(`the answer has ${this.#written} bytes, and announced ${this.#length}`);
	}
}

function byteCount(value: string | number): number {
	const bytes = Number(value);
	if (!Number.isSafeInteger(bytes) || bytes < 0) throw new TypeError(`not a content-length: ${JSON.stringify(value)}`);
	return bytes;
}
