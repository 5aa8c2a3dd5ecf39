/** What the framing and connection fields of a head say: lists and numbers read by grammar, never by a lenient library function. */
import type { FieldTable } from "./field-table.ts";
import { CONNECTION, CONTENT_LENGTH, EXPECT, FRAMING_ALIAS, HOST, TE, TRANSFER_ENCODING, UPGRADE } from "./fields.ts";
import type { FramingFields, TransferCoding } from "./framing.ts";
import { CONTENT_LENGTH_DIGITS_MAX } from "./limits.ts";
import { isToken } from "./syntax.ts";

/** Reused for each message of a connection; all of it is written by `read`. */
export class Meaning implements FramingFields {
	contentLengthLines = 0;
	contentLength = 0;
	transferEncodingLines = 0;
	transferCoding: TransferCoding = "absent";
	hostLines = 0;
	/** Index of the Host field, or -1. */
	hostIndex = -1;
	connectionLines = 0;
	connectionClose = false;
	connectionKeepAlive = false;
	connectionUpgrade = false;
	connectionMalformed = false;
	/** Further names that `Connection` lists, in lower case; undefined where there are none. */
	nominated: Set<string> | undefined;
	expectLines = 0;
	expectContinue = false;
	upgradeLines = 0;
	/** Value of the last Upgrade field. */
	upgrade = "";
	teTrailers = false;
	/** Bit `1 << id` for each known field that is there. */
	seen = 0;

	read(fields: FieldTable): void {
		this.contentLengthLines = 0;
		this.transferEncodingLines = 0;
		this.transferCoding = "absent";
		this.hostLines = 0;
		this.hostIndex = -1;
		this.connectionLines = 0;
		this.connectionClose = false;
		this.connectionKeepAlive = false;
		this.connectionUpgrade = false;
		this.connectionMalformed = false;
		this.nominated = undefined;
		this.expectLines = 0;
		this.expectContinue = false;
		this.upgradeLines = 0;
		this.teTrailers = false;
		this.seen = 0;
		const ids = fields.ids;
		for (let i = 0; i < fields.count; i++) {
			this.seen |= 1 << (ids[i] as number);
			switch (ids[i]) {
				case HOST:
					this.hostLines++;
					this.hostIndex = i;
					break;
				case CONTENT_LENGTH:
					if (this.contentLengthLines++ === 0) this.contentLength = digits(fields, i);
					break;
				case TRANSFER_ENCODING:
					this.#readTransferEncoding(fields.value(i));
					break;
				case CONNECTION:
					this.#readConnection(fields.value(i));
					break;
				case EXPECT:
					this.expectLines++;
					this.expectContinue = fields.value(i).toLowerCase() === "100-continue";
					break;
				case UPGRADE:
					this.upgradeLines++;
					this.upgrade = fields.value(i);
					break;
				case TE:
					if (/(?:^|,)[ \t]*trailers[ \t]*(?:,|$)/i.test(fields.value(i))) this.teTrailers = true;
					break;
			}
		}
	}

	/** Whether a field with this id is there. */
	has(id: number): boolean {
		return (this.seen & (1 << id)) !== 0;
	}

	get framingAlias(): boolean {
		return this.has(FRAMING_ALIAS);
	}

	#readTransferEncoding(value: string): void {
		// Several lines are one list (CVE-2021-21299); a second line is refused by the framing in any case.
		this.transferEncodingLines++;
		const codings = value.toLowerCase().split(",");
		let chunkedSeen = 0;
		let others = 0;
		let last = "";
		for (const element of codings) {
			const coding = trimSpace(element);
			if (!isToken(coding)) {
				this.transferCoding = "malformed";
				return;
			}
			if (coding === "chunked") chunkedSeen++;
			else others++;
			last = coding;
		}
		if (last !== "chunked" || chunkedSeen > 1) this.transferCoding = "not-final";
		else this.transferCoding = others > 0 ? "unsupported" : "chunked";
	}

	#readConnection(value: string): void {
		this.connectionLines++;
		// What nearly every message says, without a list being built.
		if (value === "keep-alive" || value === "Keep-Alive") {
			this.connectionKeepAlive = true;
			return;
		}
		if (value === "close") {
			this.connectionClose = true;
			return;
		}
		for (const element of value.toLowerCase().split(",")) {
			const option = trimSpace(element);
			if (option === "") continue; // empty list elements are to be ignored, RFC 9110 5.6.1.2
			if (option === "close") this.connectionClose = true;
			else if (option === "keep-alive") this.connectionKeepAlive = true;
			else if (option === "upgrade") this.connectionUpgrade = true;
			else if (!isToken(option)) this.connectionMalformed = true;
			else {
				this.nominated ??= new Set();
				this.nominated.add(option);
			}
		}
	}
}

/** 1*DIGIT by hand: Number() and parseInt() read signs, spaces, underscores and hexadecimal (CVE-2018-7159, CVE-2023-47627). */
function digits(fields: FieldTable, i: number): number {
	const start = fields.valueStart(i);
	const end = fields.valueEnd(i);
	if (end === start || end - start > CONTENT_LENGTH_DIGITS_MAX) return -1;
	let value = 0;
	for (let p = start; p < end; p++) {
		const digit = (fields.buffer[p] as number) - 0x30;
		if (digit < 0 || digit > 9) return -1;
		value = value * 10 + digit;
	}
	return value;
}

/** Without SP and HTAB around it; `trim` would also take what only Unicode calls a space. */
function trimSpace(text: string): string {
	let from = 0;
	let to = text.length;
	while (from < to && (text.charCodeAt(from) === 0x20 || text.charCodeAt(from) === 0x09)) from++;
	while (to > from && (text.charCodeAt(to - 1) === 0x20 || text.charCodeAt(to - 1) === 0x09)) to--;
	return from === 0 && to === text.length ? text : text.slice(from, to);
}
