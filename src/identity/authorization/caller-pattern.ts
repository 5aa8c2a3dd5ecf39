/** Whom one entry of a rule's `from` means, compiled: literal text around at most one asterisk, compared with verified SPIFFE ids. */
import type { CallerMatch } from "../../policy/authorization-policy.ts";

const SLASH = 0x2f;

export class CallerPattern {
	/** The whole id, or what stands before the asterisk; "" for nobody in particular, whose id is empty. */
	readonly before: string;
	/** What stands behind the asterisk; undefined where there is none. */
	readonly after: string | undefined;

	/** `trustDomain`: of this mesh, which names without a domain belong to. */
	constructor(match: CallerMatch, trustDomain: string) {
		const text = match.kind === "unauthenticated" ? "" : `spiffe://${match.trustDomain ?? trustDomain}/${match.name}`;
		const star = text.indexOf("*");
		this.before = star === -1 ? text : text.slice(0, star);
		this.after = star === -1 ? undefined : text.slice(star + 1);
	}

	/** `id`: a verified SPIFFE id, or "" for an unauthenticated caller. */
	matches(id: string): boolean {
		const { before, after } = this;
		if (after === undefined) return id === before;
		if (!id.startsWith(before)) return false;
		if (after === "") return true;
		const end = id.length - after.length;
		if (end < before.length || !id.endsWith(after)) return false;
		// In the middle it stands for a part of one segment, else `ns/*/web` would fit ns/evil/x/web.
		for (let i = before.length; i < end; i++) if (id.charCodeAt(i) === SLASH) return false;
		return true;
	}
}
