/** A handler for the test of threads: computes, fails or hangs as its event says. */
import type { CloudEvent } from "../../../src/events/cloud-event.ts";

export function handler({ data }: CloudEvent): void {
	const {
		spinMs = 0,
		fail = false,
		isFinal = false,
		hang = false,
	} = (data ?? {}) as { spinMs?: number; fail?: boolean; isFinal?: boolean; hang?: boolean };
	while (hang);
	const endMs = performance.now() + spinMs;
	while (performance.now() < endMs);
	if (fail) throw Object.assign(new Error("as it was told"), { isFinal });
}
