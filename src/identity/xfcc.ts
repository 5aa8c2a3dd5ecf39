/** `x-forwarded-client-cert` as Envoy writes it: who the caller is, for an application that does not see the handshake. */
import { nameText } from "./distinguished-name.ts";
import type { VerifiedPeer } from "./verify-chain.ts";

/** Certificates may list a hundred names; a header is no place for them all. */
const DNS_NAMES_MAX = 16;

/**
 * `By=spiffe://...;Hash=...;Subject="CN=payments";URI=spiffe://...;DNS=payments`, in Envoy's order, made once per connection. `self`: our
 * SPIFFE ID. Visible ASCII and spaces alone, and each value quoted that could be taken for more than one: nothing in a certificate can
 * add a key, a second element or a line.
 */
export function xfccValue(peer: VerifiedPeer, self: string): string {
	const { leaf } = peer;
	const pairs = [`By=${quotedIfNeeded(self)}`, `Hash=${leaf.fingerprint}`, `Subject=${quoted(nameText(leaf.subject))}`];
	pairs.push(`URI=${quotedIfNeeded(peer.id.uri)}`);
	for (const name of leaf.names.dns.slice(0, DNS_NAMES_MAX)) pairs.push(`DNS=${quotedIfNeeded(name)}`);
	return pairs.join(";");
}

function quotedIfNeeded(value: string): string {
	return /^[A-Za-z0-9._~:/@*%+-]*$/.test(value) ? value : quoted(value);
}

/** Envoy escapes the quote alone; a backslash is doubled as well, so that one at the end cannot swallow the closing quote. */
function quoted(value: string): string {
	return `"${value.replace(/[\\"]/g, "\\$&").replace(/[^\x20-\x7e]/g, "?")}"`;
}
