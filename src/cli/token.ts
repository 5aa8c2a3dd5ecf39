/** `nexus token create`, `list` and `delete`. */
import type { NewToken, TokenInfo, TokenRole, TokenWish } from "../client/nexus-client.ts";
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
	/** With role `ingest`: what alone may be published. */
	readonly types?: readonly string[];
	readonly sources?: readonly string[];
	readonly ttl?: string;
	/** Write the token there, mode 0600, and not to standard output. */
	readonly out?: string;
}

export function runTokenCreate(flags: TokenCreateFlags, io: CliIo): Promise<number> {
	return withNexus("token create", flags, io, async ({ client }) => {
		await handOver(await client.tokens.create(wishOf(flags)), flags.out, io);
		return 0;
	});
}

export interface TokenRotateFlags extends NexusFlags {
	/** As in `24h`. */
	readonly grace?: string;
	readonly ttl?: string;
	readonly out?: string;
}

/** Another secret for the same token, handed over as a new one is. */
export function runTokenRotate(id: string, { grace, ttl, out, ...flags }: TokenRotateFlags, io: CliIo): Promise<number> {
	return withNexus("token rotate", flags, io, async ({ client }) => {
		await handOver(await client.tokens.rotate(id, { ...(grace !== undefined && { grace }), ...(ttl !== undefined && { ttl }) }), out, io);
		return 0;
	});
}

export function runTokenRetire(id: string, flags: NexusFlags, io: CliIo): Promise<number> {
	return withNexus("token retire", flags, io, async ({ client }) => {
		await client.tokens.retirePrevious(id);
		io.stdout.write(io.stdout.isTTY ? `the former secret of token ${id} holds no longer\n` : `${JSON.stringify({ id, retired: true })}\n`);
		return 0;
	});
}

export function runTokenList(flags: NexusFlags & { readonly json?: boolean }, io: CliIo): Promise<number> {
	return withNexus("token list", flags, io, async ({ client }) => {
		const tokens: TokenInfo[] = [];
		for await (const token of client.tokens.list()) tokens.push(token);
		if (flags.json === true || !io.stdout.isTTY) io.stdout.write(`${JSON.stringify({ tokens })}\n`);
		else {
			const rows = tokens.map((each) => [
				each.id,
				each.kind,
				each.kind === "join" ? (each.service ?? "") : `${each.role} (${each.name})${scopeText(each)}`,
				each.kind === "join" ? `${each.used} of ${each.uses}` : "-",
				each.state.replace("_", " "),
				each.previous === undefined ? shortTime(each.lastUsedAt) : `${shortTime(each.lastUsedAt)} (former: ${shortTime(each.previous.lastUsedAt)})`,
				shortTime(each.createdAt),
				shortTime(each.expiresAt),
			]);
			io.stdout.write(tableText(["ID", "KIND", "FOR", "USED", "STATE", "LAST USED (UTC)", "CREATED (UTC)", "UNTIL (UTC)"], rows));
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

/** The token alone on standard output, where it is a terminal; what it is for on standard error. */
async function handOver({ token, ...shown }: NewToken, out: string | undefined, io: CliIo): Promise<void> {
	if (out !== undefined) await written(out, token, shown.id);
	if (!io.stdout.isTTY) io.stdout.write(`${JSON.stringify(out === undefined ? { ...shown, token } : { ...shown, file: out })}\n`);
	else {
		io.stderr.write(`${purpose(shown)}; ${out === undefined ? "it is shown this once" : `written to ${out}`}\n`);
		if (out === undefined) io.stdout.write(`${token}\n`);
	}
}

/** Throws CommandRefused for options that do not go together. */
function wishOf({ service, uses, role, name, types, sources, ttl }: TokenCreateFlags): TokenWish {
	const life = ttl === undefined ? {} : { ttl };
	if (service !== undefined && role === undefined) {
		if (name !== undefined || types !== undefined || sources !== undefined) throw new CommandRefused("--name, --types and --sources are for --role");
		return { service, ...life, ...(uses !== undefined && { uses }) };
	}
	if (service !== undefined || role === undefined) throw new CommandRefused("name one of --service (to join) and --role (to call the API)");
	if (name === undefined) throw new CommandRefused("--role wants a --name, by which people know whose token it is");
	if (uses !== undefined) throw new CommandRefused("--uses is for join tokens");
	return { role, name, ...life, ...(types && { types }), ...(sources && { sources }) };
}

function scopeText({ types = [], sources = [] }: TokenInfo): string {
	const parts = [...types, ...sources];
	return parts.length === 0 ? "" : ` for ${parts.join(", ")}`;
}

function purpose({ kind, service, uses, role, name, expiresAt, previous }: TokenInfo): string {
	const until = expiresAt === null ? "until it is deleted" : `until ${shortTime(expiresAt)} UTC`;
	if (kind === "join") return `join token for ${service}, ${uses === 1 ? "one use" : `${uses} uses`}, ${until}`;
	const before = previous === undefined ? "" : `; the former secret holds until ${shortTime(previous.until)} UTC`;
	return `API token of role ${role} for ${name}, ${until}${before}`;
}

async function written(path: string, token: string, id: string): Promise<void> {
	try {
		await writeSecretFile(path, `${token}\n`);
	} catch (thrown) {
		if (codeOf(thrown) === undefined) throw thrown;
		throw new CommandRefused(`the token was made, but cannot be written: ${messageOf(thrown)}; delete it with \`nexus token delete ${id}\``);
	}
}
