/** No proxy at all: what the others add is counted from here. */
import type { Peer } from "./peer.ts";

export const direct: Peer = {
	name: "direct",
	find: () => ({ kind: "found", version: "no proxy", prepare: undefined }),
};
