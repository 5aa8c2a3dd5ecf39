/** PEM (RFC 7468) to DER and back. Text around the blocks is read over, as tools write the subject there. */

/** A bundle of a hundred authorities is 150 KB. */
const TEXT_LENGTH_MAX = 1024 * 1024;

export type PemReading = { readonly ok: true; readonly blocks: readonly Buffer[] } | { readonly ok: false; readonly fault: string };

/** All blocks of one label, in order; blocks of other labels are read over. At most `blocksMax`. */
export function readPem(text: string, label: string, blocksMax: number): PemReading {
	if (text.length > TEXT_LENGTH_MAX) return refuse(`the PEM text is longer than ${TEXT_LENGTH_MAX} characters`);
	const begin = `-----BEGIN ${label}-----`;
	const end = `-----END ${label}-----`;
	const blocks: Buffer[] = [];
	for (let at = text.indexOf(begin); at !== -1; at = text.indexOf(begin, at)) {
		const stop = text.indexOf(end, at);
		if (stop === -1) return refuse(`a block of ${label} has no end`);
		const base64 = text.slice(at + begin.length, stop).replace(/[\r\n\t ]/g, "");
		if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(base64) || base64 === "") {
			return refuse(`block ${blocks.length + 1} of ${label} is not base64`);
		}
		if (blocks.length === blocksMax) return refuse(`there are more than ${blocksMax} blocks of ${label}`);
		blocks.push(Buffer.from(base64, "base64"));
		at = stop + end.length;
	}
	return blocks.length === 0 ? refuse(`there is no block of ${label}`) : { ok: true, blocks };
}

export function pemOf(der: Uint8Array, label: string): string {
	const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("base64");
	return `-----BEGIN ${label}-----\n${base64.replace(/.{64}(?=.)/g, "$&\n")}\n-----END ${label}-----\n`;
}

function refuse(fault: string): PemReading {
	return { ok: false, fault };
}
