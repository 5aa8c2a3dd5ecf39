/** What may be published with a token: types and sources by pattern. What is beyond is refused event by event, as what is not valid is. */
import type { EventMember } from "../../events/http-binding.ts";
import { compilePattern } from "../log/event-matcher.ts";

/** `*` stands for any run of characters. Undefined: all. */
export interface ScopePatterns {
	readonly types?: readonly string[] | undefined;
	readonly sources?: readonly string[] | undefined;
}

export interface Narrowed {
	readonly members: readonly EventMember[];
	/** How many were taken out. */
	readonly refused: number;
}

type Test = (text: string) => boolean;

export class PublishScope {
	readonly #types: readonly Test[] | undefined;
	readonly #sources: readonly Test[] | undefined;

	constructor({ types, sources }: ScopePatterns) {
		this.#types = types?.map(compilePattern);
		this.#sources = sources?.map(compilePattern);
	}

	narrow(members: readonly EventMember[]): Narrowed {
		let refused = 0;
		const narrowed = members.map((member): EventMember => {
			const reason = member.ok ? this.#refusal(member.event) : undefined;
			if (reason === undefined) return member;
			refused++;
			return { ok: false, reason };
		});
		return { members: narrowed, refused };
	}

	#refusal({ type, source }: { readonly type: string; readonly source: string }): string | undefined {
		if (this.#types?.every((matches) => !matches(type)) === true) return `the token does not allow events of type ${type}`;
		if (this.#sources?.every((matches) => !matches(source)) === true) return `the token does not allow events of source ${source}`;
		return undefined;
	}
}
