/** `nexus ca status`, `rotate` and `revoke`: the authority of a running Nexus. */
import { type AuthorityState, type Denial, NexusError } from "../client/nexus-client.ts";
import { wait } from "../client/retry.ts";
import type { Clock } from "../core/clock.ts";
import { statusText, stepText, waitsText } from "./authority-text.ts";
import type { CliIo } from "./io.ts";
import { CommandRefused, type NexusFlags, type OpenNexus, withNexus } from "./nexus-api.ts";

export interface CaContext {
	readonly clock: Clock;
	/** Ends a command that follows with exit code 0. */
	readonly signal: AbortSignal;
}

const LOOK_MS = 500;

/** Resolves with 0, or with 1 where Nexus is not there or refuses. */
export function runCaStatus(flags: NexusFlags & { readonly json?: boolean }, io: CliIo): Promise<number> {
	return withNexus("ca status", flags, io, async ({ client }) => {
		const view = await client.authority.state();
		io.stdout.write(flags.json === true || !io.stdout.isTTY ? `${JSON.stringify(view)}\n` : statusText(view));
		return 0;
	});
}

export interface RotateFlags extends NexusFlags {
	readonly what: "intermediate" | "root";
	/** Begin it, and leave. */
	readonly detach?: boolean;
}

/** Begins a rotation, or joins one of the same kind that is under way, and shows what it waits for until it is done. */
export function runCaRotate(flags: RotateFlags, io: CliIo, context: CaContext): Promise<number> {
	return withNexus("ca rotate", flags, io, async (nexus) => {
		const asJson = !io.stdout.isTTY;
		let view = await begin(nexus, flags.what, io);
		let told = "";
		while (view.rotation !== null) {
			const text = asJson ? `${JSON.stringify(view.rotation)}\n` : `${stepText(view.rotation)}\n${waitsText(view.rotation)}`;
			// Seconds that run down are no news.
			const news = text.replace(/"patienceLeftMs":\d+|waits \d+ s .*\n/, "");
			if (news !== told) io.stdout.write(text);
			told = news;
			if (flags.detach === true) return 0;
			view = await next(nexus, view, io, context);
		}
		io.stdout.write(asJson ? '{"rotation":null}\n' : doneText(flags.what, view));
		return 0;
	});
}

export interface RevokeFlags extends NexusFlags {
	readonly serial?: string;
	readonly identity?: string;
	/** Take it off the list. */
	readonly undo?: boolean;
}

export function runCaRevoke({ serial, identity, undo, ...flags }: RevokeFlags, io: CliIo): Promise<number> {
	return withNexus("ca revoke", flags, io, async ({ client: { authority } }) => {
		const denial = denialOf(serial, identity);
		if (denial === undefined) throw new CommandRefused("name one of --serial and --identity");
		const bundleVersion = await (undo === true ? authority.allow(denial) : authority.deny(denial));
		const what = serial === undefined ? `the identity ${identity}` : `the certificate ${serial}`;
		io.stdout.write(
			io.stdout.isTTY
				? `${what} is ${undo === true ? "off" : "on"} the deny list, from bundle ${bundleVersion} on; sidecars have it within a second\n`
				: `${JSON.stringify({ bundleVersion })}\n`,
		);
		return 0;
	});
}

/** Undefined where neither is named, or both. */
function denialOf(serial: string | undefined, identity: string | undefined): Denial | undefined {
	if (serial === undefined) return identity === undefined ? undefined : { identity };
	return identity === undefined ? { serial } : undefined;
}

async function begin({ client: { authority } }: OpenNexus, what: RotateFlags["what"], io: CliIo): Promise<AuthorityState> {
	try {
		return await authority.rotate(what);
	} catch (thrown) {
		if (!(thrown instanceof NexusError) || thrown.reason !== "under_way") throw thrown;
		const view = await authority.state();
		// Over between the two, or another one: the refusal stands.
		if (view.rotation?.what !== what) throw thrown;
		io.stderr.write("a rotation of this kind is under way already; this is how it goes on\n");
		return view;
	}
}

/** The state a moment later, however often Nexus restarts meanwhile. */
async function next(nexus: OpenNexus, before: AuthorityState, io: CliIo, { clock, signal }: CaContext): Promise<AuthorityState> {
	let isLost = false;
	for (;;) {
		// Nexus will show a certificate under the new root: believed, as it says so under the old one.
		if (before.rotation?.what === "root") await learnRoots(nexus, before.trustDomain);
		await wait(LOOK_MS, clock, signal);
		try {
			return await nexus.client.authority.state();
		} catch (thrown) {
			if (!(thrown instanceof NexusError) || (thrown.status !== 0 && thrown.status < 500)) throw thrown;
			if (!isLost) io.stderr.write(`${thrown.message}; waiting for it: the rotation goes on with it\n`);
			isLost = true;
		}
	}
}

async function learnRoots({ client, trust }: OpenNexus, trustDomain: string): Promise<void> {
	try {
		const { trustDomains } = await client.authority.trustBundle();
		trust(trustDomains[trustDomain] ?? "");
	} catch (thrown) {
		// Nexus is away for a moment; there is another try.
		if (!(thrown instanceof NexusError)) throw thrown;
	}
}

function doneText(what: RotateFlags["what"], { intermediates, roots }: AuthorityState): string {
	const issuing = intermediates.find(({ role }) => role === "issuing");
	const root = roots.find(({ role }) => role === "issuing");
	const copies = what === "root" ? "; replace the copies of ca.pem that people and tools outside of the mesh use" : "";
	return `done: ${issuing?.subject ?? ""} (serial ${issuing?.serial ?? ""}) issues under ${root?.subject ?? ""}${copies}\n`;
}
