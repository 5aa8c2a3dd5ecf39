/** Where a token stands in the list of all, which is given out in pages. */
import type { StoredToken } from "../authority/identity-state.ts";

/** Of a page: where the one before has ended. */
export const TOKEN_PLACE = /^(\d{1,15})-([0-9a-f]{16})$/;

type Place = Pick<StoredToken, "createdMs" | "id">;

/** The newest first; of the same millisecond by their ids. */
export function byAge(a: Place, b: Place): number {
	return b.createdMs - a.createdMs || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

/** Also of a token that is gone by the time of the next page. */
export function placeOf({ createdMs, id }: Place): string {
	return `${createdMs}-${id}`;
}

export function markOf(place: string): Place | undefined {
	const [, createdMs, id] = TOKEN_PLACE.exec(place) ?? [];
	return createdMs === undefined || id === undefined ? undefined : { createdMs: Number(createdMs), id };
}
