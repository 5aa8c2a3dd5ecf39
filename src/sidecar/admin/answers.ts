/** What several endpoints of the admin API answer alike. */
import type { Problem } from "../../server/problem.ts";

export function badQuery(detail: string): Problem {
	return { status: 400, title: "The query is wrong.", detail, reason: "bad_request" };
}

export function isoTime(wallMs: number): string {
	return new Date(wallMs).toISOString();
}
