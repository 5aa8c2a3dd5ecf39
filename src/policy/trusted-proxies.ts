/** Whose word about the client is believed: the compiled form of `inbound.trustedProxies`. */
import { BlockList, isIP } from "node:net";

/** Built when the policy changes; asked once per connection, not per request. */
export class TrustedProxies {
	readonly #blocks = new BlockList();
	readonly #any: boolean;

	/** `cidrs` as in `InboundPolicy`: checked already. */
	constructor(cidrs: readonly string[]) {
		this.#any = cidrs.length !== 0;
		for (const cidr of cidrs) {
			const [address = "", bits] = cidr.split("/");
			this.#blocks.addSubnet(address, Number(bits), familyOf(address));
		}
	}

	/** `address` as the socket tells it; IPv4 inside IPv6 (`::ffff:10.0.0.1`) counts as IPv4. False for what is no address. */
	trusts(address: string): boolean {
		if (!this.#any) return false;
		const plain = address.startsWith("::ffff:") && isIP(address.slice(7)) === 4 ? address.slice(7) : address;
		return isIP(plain) !== 0 && this.#blocks.check(plain, familyOf(plain));
	}
}

function familyOf(address: string): "ipv4" | "ipv6" {
	return isIP(address) === 4 ? "ipv4" : "ipv6";
}
