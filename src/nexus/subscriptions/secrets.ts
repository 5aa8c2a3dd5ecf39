/** What only a receiver should know: hidden in what is shown, and kept where what was shown comes back. Pure. */

/** Stands for a value that is there and not shown. */
export const HIDDEN = "(set)";
const SECRET_FIELD = /authorization|cookie|token|key|secret|password/i;

type Members = Readonly<Record<string, unknown>>;

/** `document` has passed the schema. */
export function withoutSecrets(document: Members): Members {
	const sink = document.sink as Members;
	const shown: Record<string, unknown> = { ...sink };
	if (sink.secret !== undefined) shown.secret = HIDDEN;
	if (sink.headers !== undefined) {
		shown.headers = Object.fromEntries(
			Object.entries(sink.headers as Members).map(([name, value]) => [name, SECRET_FIELD.test(name) ? HIDDEN : value]),
		);
	}
	return { ...document, sink: shown };
}

/** Whoever reads a subscription, edits it and sends it back, changes no secret by it. `given` is anything. */
export function withSecretsOf(given: unknown, current: Members | undefined): unknown {
	const sink = membersOf(membersOf(given)?.sink);
	const before = membersOf(current?.sink);
	if (sink === undefined || before === undefined) return given;
	const kept: Record<string, unknown> = { ...sink };
	if (sink.secret === HIDDEN && before.secret !== undefined) kept.secret = before.secret;
	const headers = membersOf(sink.headers);
	const headersBefore = membersOf(before.headers);
	if (headers !== undefined && headersBefore !== undefined) {
		kept.headers = Object.fromEntries(
			Object.entries(headers).map(([name, value]) => [name, value === HIDDEN && Object.hasOwn(headersBefore, name) ? headersBefore[name] : value]),
		);
	}
	return { ...(given as Members), sink: kept };
}

function membersOf(value: unknown): Members | undefined {
	return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Members) : undefined;
}
