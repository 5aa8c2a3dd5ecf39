/** Connections to Nexus with the identity of this service, for whatever is sent there: both ends are known by their certificates. */
import type { Clock } from "../../core/clock.ts";
import { spiffeIdOf } from "../../identity/spiffe-id.ts";
import type { VerifiedPeer } from "../../identity/verify-chain.ts";
import { type TlsConnector, tlsConnector } from "../../net/tls-connector.ts";
import type { MeshIdentity } from "./mesh-identity.ts";
import { NEXUS_SERVICE } from "./nexus-trust.ts";

const CONNECT_TIMEOUT_MS = 10_000;

/** `onRetire`: the connection that was made last should be given up for a new one soon. One whose Nexus is trusted no more is cut here. */
export function nexusConnector(identity: MeshIdentity, hostname: string, clock: Clock, onRetire: () => void): TlsConnector {
	const nexus = spiffeIdOf(identity.self.trustDomain, NEXUS_SERVICE);
	if (!nexus.ok) throw new TypeError(`${identity.self.trustDomain} is no trust domain`);
	return tlsConnector<VerifiedPeer>({
		serverName: hostname.startsWith("[") ? "" : hostname,
		checkHostName: false,
		contexts: identity.client,
		timeoutMs: CONNECT_TIMEOUT_MS,
		clock,
		verify: (shown) => identity.verifyCallee(shown, nexus.id),
		onReady: (socket, peer) => {
			const connection = { peer, retire: onRetire, cut: () => void socket.destroy() };
			identity.watchCallee(connection, identity.ownUntilMs);
			socket.once("close", () => identity.unwatch(connection));
		},
	});
}
