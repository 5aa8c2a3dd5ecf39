/** What the fuzzer begins with: a small corpus of its own, and the shared one where it is beside the repository. */
import { existsSync, readFileSync } from "node:fs";

export interface Corpus {
	readonly requests: readonly Buffer[];
	readonly responses: readonly Buffer[];
}

const SHARED = new URL("../../../shared/conformance/", import.meta.url);

/** Inputs longer than this mutate slowly and teach little: limits have tests of their own. */
const ENTRY_BYTES_MAX = 2048;

const REQUESTS: readonly string[] = [
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"\r\nGET /a/b?c=d&e HTTP/1.1\r\nHost: a.b:8080\r\nAccept: */*\r\nX-A: 1\r\nx-a:2\r\n\r\n",
	"GET http://x:81/a?b HTTP/1.1\r\nHost: a\r\nConnection: close, x-a\r\nX-A: 1\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\nHEAD /n HTTP/1.1\r\nHost: n\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: b\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\nTrailer: X\r\nTE: trailers\r\n\r\nA;a=b\r\n0123456789\r\n1 ;x\r\n!\r\n0;y\r\nX: 1\r\nContent-Length: 5\r\n\r\n",
	"PUT / HTTP/1.0\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n\r\nok",
	"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x05hello",
	"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\nAuthorization: Bearer x\r\nConnection: authorization\r\n\r\nabc",
];

const RESPONSES: readonly string[] = [
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, x-a\r\nX-A: 1\r\n\r\n5\r\nhello\r\n0\r\nGrpc-Status: 0\r\n\r\n",
	"HTTP/1.0 200\r\nServer: old\r\n\r\nuntil the end",
	'HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: "a"\r\n\r\n',
	"HTTP/1.1 205 Reset\r\nContent-Length: 3\r\n\r\nabc",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 Smuggled\r\n\r\n",
];

/** The same entries in the same order wherever it runs; `shared`: whether to use the corpus beside the repository. */
export function loadCorpus(shared: boolean): Corpus {
	const own = { requests: REQUESTS.map(latin1), responses: RESPONSES.map(latin1) };
	if (!shared || !existsSync(SHARED)) return own;
	return {
		requests: [...own.requests, ...loadShared("http1-requests.jsonl")],
		responses: [...own.responses, ...loadShared("http1-responses.jsonl")],
	};
}

function loadShared(file: string): Buffer[] {
	const lines = readFileSync(new URL(file, SHARED), "utf8").trim().split("\n");
	const entries = lines.map((line) => Buffer.from((JSON.parse(line) as { bytes_b64: string }).bytes_b64, "base64"));
	return entries.filter((entry) => entry.length <= ENTRY_BYTES_MAX);
}

function latin1(text: string): Buffer {
	return Buffer.from(text, "latin1");
}
