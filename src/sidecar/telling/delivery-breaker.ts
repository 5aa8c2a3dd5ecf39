/** The breaker around posts to Nexus: after failures the network is left alone but for one probe at a time. */
import type CircuitBreaker from "opossum";
import type { Rng } from "../../core/rng.ts";
import type { PostVerdict } from "./nexus-client.ts";

export type DeliveryBreaker = CircuitBreaker<[readonly string[]], PostVerdict>;

// Five failures in a minute, half of the tries.
const BREAKER_VOLUME = 5;
const BREAKER_WINDOW_MS = 60_000;
const BREAKER_OPEN_MS = 5000;

/** `openMs`: in real time, opossum keeps a clock of its own. `fire` rejects with a `PostFailure` where the post failed. */
export async function createDeliveryBreaker(
	post: (batch: readonly string[]) => Promise<PostVerdict>,
	rng: Rng,
	openMs = BREAKER_OPEN_MS,
): Promise<DeliveryBreaker> {
	const { default: Breaker } = await import("opossum");
	const guarded = async (batch: readonly string[]): Promise<PostVerdict> => {
		const verdict = await post(batch);
		if (verdict.kind === "failed") throw new PostFailure(verdict);
		return verdict;
	};
	return new Breaker(guarded, {
		timeout: false,
		volumeThreshold: BREAKER_VOLUME,
		errorThresholdPercentage: 50,
		rollingCountTimeout: BREAKER_WINDOW_MS,
		// A fleet that broke together probes apart: between half of the time and one and a half.
		resetTimeout: openMs * (0.5 + rng()),
		rollingPercentilesEnabled: false,
		enableSnapshots: false,
	});
}

/** Makes a failed post a rejection, which is what opossum counts. */
export class PostFailure extends Error {
	readonly verdict: PostVerdict;

	constructor(verdict: PostVerdict & { kind: "failed" }) {
		super(verdict.message);
		this.verdict = verdict;
	}
}
