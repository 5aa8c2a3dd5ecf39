/** Why a webhook was not answered, in words. */
import { codeOf, messageOf } from "../../../core/errors.ts";
import { tlsFailureIn } from "../../../net/tls-connector.ts";
import { ANSWER_CHARS_MAX } from "../limits.ts";

/** `isTls`: certificates may have a part in it. */
export function causeOf(thrown: unknown, isTls: boolean): string {
	const failure = tlsFailureIn(thrown);
	if (failure !== undefined) return `TLS failed (${failure.reason}): ${failure.words}`.slice(0, ANSWER_CHARS_MAX);
	const hint =
		isTls && isCut(thrown) ? "; it was cut before an answer: the receiver may not accept the certificate that it was shown, or want one" : "";
	return `${messageOf(thrown)}${hint}`.slice(0, ANSWER_CHARS_MAX);
}

/** A server of TLS 1.3 looks at our certificate after its own side of the handshake, and what it says as it closes may be lost on the way. */
function isCut(thrown: unknown): boolean {
	const code = codeOf(thrown);
	if (code === "ECONNRESET" || code === "EPIPE") return true;
	return thrown instanceof Error && "socket" in thrown && (thrown.socket as { bytesRead?: number } | null)?.bytesRead === 0;
}
