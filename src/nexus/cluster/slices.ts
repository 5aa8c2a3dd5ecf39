/** The parts in which the subscriptions are shared out over the nodes, by their names alone: a node knows whom to ask without asking anybody. */
import { hashModulo, xxh64Utf8 } from "../../core/xxh64.ts";

/** As many nodes can share the work; each slice costs a few small writes in the time of a lease. All nodes must agree on it (record 0103). */
export const SLICES = 16;

/** 0 to SLICES - 1. */
export function sliceOf(subscription: string): number {
	return hashModulo(xxh64Utf8(subscription), SLICES);
}

/**
 * How many slices are whose, where these nodes are there: the same on every node that sees the same ones. Together all of them; 0 for who is
 * none of them.
 */
export function shareOf(node: string, nodes: readonly string[]): number {
	const rank = [...nodes].sort().indexOf(node);
	if (rank < 0) return 0;
	return Math.floor(SLICES / nodes.length) + (rank < SLICES % nodes.length ? 1 : 0);
}
