/** `nexus token create`, `list` and `delete`. */
import { codeOf, messageOf } from "../core/errors.ts";
import { writeSecretFile } from "../core/secret-file.ts";
import { withApi } from "./ca.ts";
import type { CliIo } from "./io.ts";
import { type NexusFlags, NexusRefusal } from "./nexus-api.ts";
import { shortTime, tableText } from "./table.ts";

export interface TokenCreateFlags extends NexusFlags {
	/** A join token for this service ... */
	readonly service?: string;
	readonly uses?: number;
	/** ... or an API token of this role. */
	readonly role?: string;
	readonly name?: string;
	readonly ttl?: string;
	/** Write the token there, mode 0600, and not to standard output. */
	readonly out?: string;
}

interface TokenView {
	readonly id: string;
	readonly kind: "join" | "api";
	readonly service?: string;
	readonly uses?: number;
	readonly used?: number;
	readonly role?: string;
	readonly name?: string;
	readonly createdAt: string;
	readonly expiresAt: string | null;
	readonly state: string;
}

/** The token alone on standard output, where it is a terminal; what it is for on standard error. */
export function runTokenCreate({ service, uses, role, name, ttl, out, ...flags }: TokenCreateFlags, io: CliIo): Promise<number> {
	return withApi("token create", flags, io, async (api) => {
		if ((service === undefined) === (role === undefined))
			throw new NexusRefusal("name one of --service (to join) and --role (to call the API)", 0, "");
		if (role !== undefined && name === undefined) throw new NexusRefusal("--role wants a --name, by which people know whose token it is", 0, "");
		if (role !== undefined && uses !== undefined) throw new NexusRefusal("--uses is for join tokens", 0, "");
		const body = service === undefined ? { role, name, ttl } : { service, ttl, uses };
		const { token, ...shown } = await api.json<TokenView & { token: string }>("/v1/tokens", { method: "POST", body });
		if (out !== undefined) await written(out, token);
		if (!io.stdout.isTTY) io.stdout.write(`${JSON.stringify(out === undefined ? { ...shown, token } : { ...shown, file: out })}\n`);
		else {
			io.stderr.write(`${purpose(shown)}; ${out === undefined ? "it is shown this once" : `written to ${out}`}\n`);
			if (out === undefined) io.stdout.write(`${token}\n`);
		}
		return 0;
	});
}

export function runTokenList(flags: NexusFlags & { readonly json?: boolean }, io: CliIo): Promise<number> {
	return withApi("token list", flags, io, async (api) => {
		const answer = await api.json<{ tokens: readonly TokenView[] }>("/v1/tokens");
		if (flags.json === true || !io.stdout.isTTY) io.stdout.write(`${JSON.stringify(answer)}\n`);
		else {
			const rows = answer.tokens.map((each) => [
				each.id,
				each.kind,
				each.kind === "join" ? (each.service ?? "") : `${each.role} (${each.name})`,
				each.kind === "join" ? `${each.used} of ${each.uses}` : "-",
				each.state.replace("_", " "),
				shortTime(each.createdAt),
				shortTime(each.expiresAt),
			]);
			io.stdout.write(tableText(["ID", "KIND", "FOR", "USED", "STATE", "CREATED (UTC)", "UNTIL (UTC)"], rows));
		}
		return 0;
	});
}

export function runTokenDelete(id: string, flags: NexusFlags, io: CliIo): Promise<number> {
	return withApi("token delete", flags, io, async (api) => {
		await api.json(`/v1/tokens/${encodeURIComponent(id)}`, { method: "DELETE" });
		io.stdout.write(io.stdout.isTTY ? `token ${id} holds no longer\n` : `${JSON.stringify({ id, deleted: true })}\n`);
		return 0;
	});
}

function purpose({ kind, service, uses, role, name, expiresAt }: TokenView): string {
	const until = expiresAt === null ? "until it is deleted" : `until ${shortTime(expiresAt)} UTC`;
	return kind === "join"
		? `join token for ${service}, ${uses === 1 ? "one use" : `${uses} uses`}, ${until}`
		: `API token of role ${role} for ${name}, ${until}`;
}

async function written(path: string, token: string): Promise<void> {
	try {
		await writeSecretFile(path, `${token}\n`);
	} catch (thrown) {
		if (codeOf(thrown) === undefined) throw thrown;
		throw new NexusRefusal(`the token was made, but cannot be written: ${messageOf(thrown)}; delete it with \`nexus token delete\``, 0, "");
	}
}
