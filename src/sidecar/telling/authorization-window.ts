/** What authorization has refused, audited or would have refused in one window: by rule and caller, bounded. */

export interface AuthorizationMark {
	/** Name of the rule; "" where none allowed it. */
	readonly rule: string;
	/** `file:line:column`. */
	readonly policy: string;
	/** SPIFFE ID; "" for an unauthenticated caller. */
	readonly caller: string;
	/** Of the last request. */
	readonly address: string;
	readonly method: string;
	/** Without the query, at most 256 characters. */
	readonly path: string;
	readonly count: number;
}

// Enough to see who is meant; what is beyond that is an attack or a wrong policy, which 32 examples show as well.
const MARKS_MAX = 32;

// For people; a path may be 16 KiB long.
const PATH_CHARS_MAX = 256;

type Entry = { -readonly [key in keyof AuthorizationMark]: AuthorizationMark[key] };

export class AuthorizationWindow {
	readonly #entries = new Map<string, Entry>();
	#others = 0;

	add(rule: string, policy: string, caller: string, address: string, method: string, path: string): void {
		// No name of a rule holds a space.
		const key = `${rule} ${caller}`;
		const entry = this.#entries.get(key);
		const shown = path.length > PATH_CHARS_MAX ? path.slice(0, PATH_CHARS_MAX) : path;
		if (entry !== undefined) {
			entry.count++;
			entry.address = address;
			entry.method = method;
			entry.path = shown;
		} else if (this.#entries.size === MARKS_MAX) this.#others++;
		else this.#entries.set(key, { rule, policy, caller, address, method, path: shown, count: 1 });
	}

	/** `others`: requests beyond what is remembered. Begins anew. */
	take(): { readonly marks: readonly AuthorizationMark[]; readonly others: number } {
		const taken = { marks: [...this.#entries.values()], others: this.#others };
		this.#entries.clear();
		this.#others = 0;
		return taken;
	}
}
