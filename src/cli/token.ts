/** `nexus token create`, `list` and `delete`. */
import type { TokenInfo, TokenRole, TokenWish } from "../client/nexus-client.ts";
import { codeOf, messageOf } from "../core/errors.ts";
import { writeSecretFile } from "../core/secret-file.ts";
import type { CliIo } from "./io.ts";
import { CommandRefused, type NexusFlags, withNexus } from "./nexus-api.ts";
import { shortTime, tableText } from "./table.ts";

export interface TokenCreateFlags extends NexusFlags {
	/** A join token for this service ... */
	readonly service?: string;
	readonly uses?: number;
	/** ... or an API token of this role. */
	readonly role?: TokenRole;
	readonly name?: string;
	readonly ttl?: string;
	/** Write the token there, mode 0600, and not to standard output. */
	readonly out?: string;
}

/** The token alone on standard output, where it is a terminal; what it is for on standard error. */
export function runTokenCreate(flags: TokenCreateFlags, io: CliIo): Promise<number> {
	return withNexus("token create", flags, io, async ({ client }) => {
		const { token, ...shown } = await client.tokens.create(wishOf(flags));
		const { out } = flags;
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
	return withNexus("token list", flags, io, async ({ client }) => {
		const tokens = await client.tokens.list();
		if (flags.json === true || !io.stdout.isTTY) io.stdout.write(`${JSON.stringify({ tokens })}\n`);
		else {
			const rows = tokens.map((each) => [
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
	return withNexus("token delete", flags, io, async ({ client }) => {
		await client.tokens.delete(id);
		io.stdout.write(io.stdout.isTTY ? `token ${id} holds no longer\n` : `${JSON.stringify({ id, deleted: true })}\n`);
		return 0;
	});
}

/** Throws CommandRefused for options that do not go together. */
function wishOf({ service, uses, role, name, ttl }: TokenCreateFlags): TokenWish {
	const life = ttl === undefined ? {} : { ttl };
	if (service !== undefined && role === undefined) return { service, ...life, ...(uses !== undefined && { uses }) };
	if (service !== undefined || role === undefined) throw new CommandRefused("name one of --service (to join) and --role (to call the API)");
	if (name === undefined) throw new CommandRefused("--role wants a --name, by which people know whose token it is");
	if (uses !== undefined) throw new CommandRefused("--uses is for join tokens");
	return { role, name, ...life };
}

function purpose({ kind, service, uses, role, name, expiresAt }: TokenInfo): string {
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
		throw new CommandRefused(`the token was made, but cannot be written: ${messageOf(thrown)}; delete it with \`nexus token delete\``);
	}
}
