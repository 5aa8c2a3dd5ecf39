/**
 * Where a webhook may be called: not where a cloud keeps the secrets of its machines, and not where nobody can be. Names are judged by the
 * address that is connected to, so that a name that changes its mind in between (DNS rebinding) changes nothing.
 */
import { type LookupAddress, type LookupOptions, lookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";

const REFUSED = new BlockList();
// Link-local: the metadata services of most clouds (169.254.169.254) stand there.
REFUSED.addSubnet("169.254.0.0", 16, "ipv4");
REFUSED.addSubnet("fe80::", 10, "ipv6");
// The same service on IPv6 (AWS, Google), inside of the private range.
REFUSED.addAddress("fd00:ec2::254", "ipv6");
REFUSED.addAddress("fd20:ce::254", "ipv6");
// Those of Alibaba and Oracle, and the one that hands certificates to machines in Azure.
REFUSED.addAddress("100.100.100.200", "ipv4");
REFUSED.addAddress("192.0.0.192", "ipv4");
REFUSED.addAddress("168.63.129.16", "ipv4");
// "This host", multicast, reserved and broadcast.
REFUSED.addSubnet("0.0.0.0", 8, "ipv4");
REFUSED.addSubnet("224.0.0.0", 3, "ipv4");
REFUSED.addAddress("::", "ipv6");
REFUSED.addSubnet("ff00::", 8, "ipv6");

/** Why the address is refused; undefined where it is not. Also IPv4 inside of IPv6 (mapped, 6to4 and NAT64) is seen for what it is. */
export function addressFault(address: string): string | undefined {
	const version = isIP(address);
	if (version === 0) return `${address} is no address`;
	const v4 = version === 6 ? embeddedV4(address) : undefined;
	const isRefused = REFUSED.check(address, version === 4 ? "ipv4" : "ipv6") || (v4 !== undefined && REFUSED.check(v4, "ipv4"));
	return isRefused ? `${address} is link-local, multicast or reserved: webhooks are not sent there` : undefined;
}

/** What is wrong with the host of a URL, as far as it can be said without asking anybody. */
export function hostFault(hostname: string): string | undefined {
	const bare = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
	return isIP(bare) === 0 ? undefined : addressFault(bare);
}

/** For `net.connect`: fails where any of the addresses of the name is refused. */
export const guardedLookup: LookupFunction = (hostname, options, callback) => {
	const done = callback as (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void;
	lookup(hostname, { ...(options as LookupOptions), all: true }, (error, addresses) => {
		if (error !== null) {
			done(error, "", 0);
			return;
		}
		const fault = addresses.map(({ address }) => addressFault(address)).find((found) => found !== undefined);
		const [first] = addresses;
		if (fault !== undefined || first === undefined) done(new Error(fault ?? `${hostname} has no address`), "", 0);
		else if (options.all === true) done(null, addresses);
		else done(null, first.address, first.family);
	});
};

/** The IPv4 address inside of ::ffff:0:0/96, 64:ff9b::/96 and 2002::/16. */
function embeddedV4(address: string): string | undefined {
	const groups = groupsOf(address);
	if (groups === undefined) return undefined;
	const [a = 0, b = 0, c = 0] = groups;
	const startsWithZeros = groups.slice(0, 5).every((group) => group === 0);
	// Without a high part it is not an IPv4 address in the old way, but ::1 and its neighbours.
	if (startsWithZeros && (groups[5] === 0xffff || (groups[5] === 0 && groups[6] !== 0))) return quad(groups[6], groups[7]);
	if (a === 0x64 && b === 0xff9b) return quad(groups[6], groups[7]);
	return a === 0x2002 ? quad(b, c) : undefined;
}

function groupsOf(address: string): number[] | undefined {
	const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address.split("%")[0] ?? "");
	const text =
		dotted === null
			? (address.split("%")[0] ?? "")
			: `${dotted[1]}${((Number(dotted[2]) << 8) | Number(dotted[3])).toString(16)}:${((Number(dotted[4]) << 8) | Number(dotted[5])).toString(16)}`;
	const [head = "", tail] = text.split("::");
	const left = head === "" ? [] : head.split(":");
	const right = tail === undefined || tail === "" ? [] : tail.split(":");
	if (tail === undefined && left.length !== 8) return undefined;
	const middle = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => "0");
	return [...left, ...middle, ...right].map((group) => Number.parseInt(group, 16));
}

function quad(high = 0, low = 0): string {
	return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}
