/** The keys by which an engine's servers know Nexus, and it them: TLS, logins and secrets, from the configuration to what is used. Pure. */
import { z } from "zod";
import { refuse } from "../../policy/fault.ts";
import type { Path } from "../../policy/tree.ts";
import { parseHostName } from "../../policy/values.ts";
import type { EngineTls } from "../engines/engine-tls.ts";
import { secretText, text } from "./config-values.ts";
import type { Tell } from "./engine-checks.ts";
import { type KafkaLogin, type NatsLogin, SASL_MECHANISMS } from "./engine-choice.ts";
import { pairFault, pemKeys, pemPaths } from "./pem-config.ts";
import { SecretSource } from "./secret-source.ts";

type Resolve = (path: string) => string;

const file = z.string().min(1).max(4096);
const user = z.string().min(1).max(256);
/** A number without quotes is no text, and must not be shown either. */
const secret = z.unknown().transform((given, context): string => {
	if (typeof given === "string" && given !== "") return given;
	context.issues.push({ code: "custom", message: "is not text\nput it in quotes", input: given, params: { key: true } });
	return z.NEVER;
});

const tls = { tls: z.strictObject({ ...pemKeys, serverName: text(parseHostName).optional() }).optional() };
const password = { user: user.optional(), password: secret.optional(), passwordFile: file.optional() };

export const natsLoginKeys = {
	...tls,
	...password,
	token: secret.optional(),
	tokenFile: file.optional(),
	nkeyFile: file.optional(),
	credsFile: file.optional(),
};
export const kafkaLoginKeys = { ...tls, ...password, mechanism: z.enum(SASL_MECHANISMS).optional() };

/** A URL may have the login in it. */
export function urlKeys(schemes: readonly string[]) {
	return { ...tls, ...password, url: urlText(schemes).optional(), urlFile: file.optional() };
}

export function urlText(schemes: readonly string[]) {
	return secretText((given) => {
		const scheme = URL.parse(given)?.protocol.slice(0, -1);
		return scheme !== undefined && schemes.includes(scheme)
			? given
			: refuse("is not a URL of the right kind", `write ${schemes.join(":// or ")}://...`);
	});
}

type Given<Keys extends z.ZodRawShape> = z.output<z.ZodObject<Keys>>;
type GivenPassword = Given<typeof password>;
type GivenUrl = Given<ReturnType<typeof urlKeys>>;

/** Nothing where TLS is not spoken of. */
export function tlsOf(path: Path, given: Given<typeof tls>, tell: Tell, resolve: Resolve): { readonly tls?: EngineTls } {
	if (given.tls === undefined) return {};
	const { serverName, ...files } = given.tls;
	const fault = pairFault(files);
	if (fault !== undefined) tell([...path, "tls", fault.key], fault.message, fault.hint);
	return { tls: { files: pemPaths(files, resolve), ...(serverName === undefined ? {} : { serverName }) } };
}

/** Nothing where there is no login. */
export function natsLoginOf(path: Path, given: Given<typeof natsLoginKeys>, tell: Tell, resolve: Resolve): { readonly login?: NatsLogin } {
	const { token, tokenFile, nkeyFile, credsFile } = given;
	const pair = passwordOf(path, given, tell, resolve);
	if (token !== undefined && tokenFile !== undefined) tell([...path, "tokenFile"], "there are two tokens", "keep one of `token` and `tokenFile`");
	const logins: (NatsLogin | undefined)[] = [
		pair && { kind: "password", ...pair },
		token === undefined && tokenFile === undefined ? undefined : { kind: "token", token: sourceOf(token, tokenFile, resolve) },
		nkeyFile === undefined ? undefined : { kind: "nkey", seed: SecretSource.file(resolve(nkeyFile)) },
		credsFile === undefined ? undefined : { kind: "creds", creds: SecretSource.file(resolve(credsFile)) },
	];
	const [login, another] = logins.filter((each) => each !== undefined);
	if (another !== undefined) tell(path, "there are several logins", "keep one: user and password, a token, `nkeyFile` or `credsFile`");
	return login === undefined ? {} : { login };
}

export function kafkaLoginOf(path: Path, given: Given<typeof kafkaLoginKeys>, tell: Tell, resolve: Resolve): { readonly login?: KafkaLogin } {
	const pair = passwordOf(path, given, tell, resolve);
	const { mechanism = "SCRAM-SHA-512" } = given;
	if (pair === undefined && given.mechanism !== undefined)
		tell([...path, "mechanism"], "there is no login that it is for", "add `user` and `passwordFile`");
	return pair === undefined ? {} : { login: { mechanism, ...pair } };
}

/** The URL with the login in it, wherever that is said. */
export function urlOf(path: Path, given: GivenUrl, tell: Tell, resolve: Resolve): SecretSource {
	const { url, urlFile } = given;
	if ((url === undefined) === (urlFile === undefined)) {
		const message = url === undefined ? "there is no URL" : "there are two URLs";
		tell(
			[...path, ...(url === undefined ? [] : ["urlFile"])],
			message,
			"one of `url` (the environment may fill it) and `urlFile`, a file with nothing else in it",
		);
	}
	const source = sourceOf(url ?? "", urlFile, resolve);
	const pair = passwordOf(path, given, tell, resolve);
	return pair === undefined ? source : SecretSource.made(() => withLogin(source.read(), pair.user, pair.password.read()));
}

function passwordOf(path: Path, given: GivenPassword, tell: Tell, resolve: Resolve): { user: string; password: SecretSource } | undefined {
	const { user, password, passwordFile } = given;
	if (user === undefined && password === undefined && passwordFile === undefined) return undefined;
	if (password !== undefined && passwordFile !== undefined)
		tell([...path, "passwordFile"], "there are two passwords", "keep one of `password` and `passwordFile`");
	if (user === undefined) tell([...path, password === undefined ? "passwordFile" : "password"], "there is a password without its user", "add `user`");
	if (password === undefined && passwordFile === undefined) tell([...path, "user"], "there is a user without a password", "add `passwordFile`");
	return { user: user ?? "", password: sourceOf(password, passwordFile, resolve) };
}

function sourceOf(text: string | undefined, file: string | undefined, resolve: Resolve): SecretSource {
	return file === undefined ? SecretSource.text(text ?? "") : SecretSource.file(resolve(file));
}

/** Throws what shows neither. */
function withLogin(text: string, user: string, password: string): string {
	const url = URL.parse(text);
	if (url === null) throw new Error("the URL of the engine cannot be read");
	if (url.username !== "" || url.password !== "") throw new Error("the URL has a login, and `user` is another one: keep one of them");
	url.username = encodeURIComponent(user);
	url.password = encodeURIComponent(password);
	return url.href;
}
