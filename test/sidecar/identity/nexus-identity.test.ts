/** Identity from the authority of Nexus: joining, renewing, following the bundle, and whatever goes wrong meanwhile. Real TLS on loopback. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Clock } from "../../../src/core/clock.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { seededRng } from "../../../src/core/rng.ts";
import type { JoinToken } from "../../../src/identity/join-token.ts";
import { IdentityKeeper } from "../../../src/sidecar/identity/identity-keeper.ts";
import type { MeshIdentity } from "../../../src/sidecar/identity/mesh-identity.ts";
import { SmallAuthority } from "./small-authority.ts";
import { createAuthority, eventually, isKeyOf, surroundings, TRUST_DOMAIN, temporaryDirectory } from "./support.ts";

interface SetUpOptions {
	readonly url: string;
	readonly token?: JoinToken;
	readonly cacheDir?: string;
	readonly clock?: Clock;
}

async function setUp(t: TestContext, { url, token, cacheDir, clock = systemClock }: SetUpOptions) {
	const directory = await temporaryDirectory(t);
	const tokenFile = join(directory, "join.token");
	if (token !== undefined) await writeToken(tokenFile, token);
	const around = surroundings(clock);
	const keeper = new IdentityKeeper({
		policy: { place: { file: "mesh.yaml", line: 1, column: 1 }, kind: "nexus", tokenFile, cacheDir },
		service: "payments",
		trustDomain: TRUST_DOMAIN,
		nexusUrl: url,
		clock,
		rng: seededRng(7),
		log: around.log,
		feed: around.feed,
		onCut: () => {},
	});
	t.after(() => keeper.stop());
	return { keeper, tokenFile, directory, ...around };
}

async function writeToken(path: string, token: JoinToken): Promise<void> {
	await writeFile(path, `${token.text()}\n`, { mode: 0o600 });
}

function serialOf(identity: MeshIdentity): string {
	return identity.keyed.chain[0]?.serial ?? "";
}

test("a sidecar with nothing but a join token gets its certificate, with a key of its own, and follows the trust bundle", async (t) => {
	const nexus = await SmallAuthority.start(t, await createAuthority());
	const { keeper } = await setUp(t, { url: nexus.url, token: nexus.createToken("payments") });
	const identity = await keeper.start();
	assert.equal(identity.self.uri, "spiffe://mesh.local/payments");
	assert.ok(isKeyOf(identity.keyed.key, identity.keyed));
	assert.deepEqual(keeper.notReady(), []);
	await eventually(() => nexus.asked.some(({ path, by }) => path === "/v1/trust-bundle?after=1&wait=30s" && by === identity.self.uri), "it polls");
	nexus.change({ deniedIdentities: ["spiffe://mesh.local/mallory"] });
	await eventually(() => identity.bundle.isDeniedIdentity("spiffe://mesh.local/mallory"), "the deny list arrives");
	await eventually(() => nexus.asked.some(({ path }) => path === "/v1/trust-bundle?after=2&wait=30s"), "it says which version it has");
	const { certificate, bundle, state } = keeper.status();
	assert.equal(state, "valid");
	assert.equal(certificate?.serial, serialOf(identity));
	assert.equal(bundle?.version, 2);
	assert.equal(bundle?.deniedIdentities, 1);
});
