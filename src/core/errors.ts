/** Total conversions from `unknown`, so that a `catch` never guesses what it holds. */

/** The message of anything that was thrown, with its system code where it has one. */
export function messageOf(thrown: unknown): string {
	if (thrown instanceof Error) {
		const code = codeOf(thrown);
		const message = thrown.message === "" ? thrown.name : thrown.message;
		return code === undefined || message.includes(code) ? message : `${message} (${code})`;
	}
	return String(thrown);
}

/** The system's error code (`ECONNREFUSED`, `ENOSPC`), if there is one. */
export function codeOf(thrown: unknown): string | undefined {
	if (typeof thrown !== "object" || thrown === null || !("code" in thrown)) return undefined;
	return typeof thrown.code === "string" ? thrown.code : undefined;
}

/** Closes a `switch` over a union: adding a member without a case does not compile. */
export function assertNever(value: never): never {
	throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
