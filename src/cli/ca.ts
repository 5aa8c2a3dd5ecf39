/** `nexus ca status`, `rotate` and `revoke`: the authority of a running Nexus. */
import type { Clock } from "../core/clock.ts";
import { type AuthorityView, statusText, stepText, waitsText } from "./authority-client.ts";
import type { CliIo } from "./io.ts";
import { type NexusApi, type NexusFlags, NexusRefusal, openNexusApi } from "./nexus-api.ts";
import { pause } from "./pause.ts";

export interface CaContext {
	readonly clock: Clock;
	/** Ends a command that follows with exit code 0. */
	readonly signal: AbortSignal;
}

const LOOK_MS = 500;

/** Resolves with 0, or with 1 where Nexus is not there or refuses. */
export function runCaStatus(flags: NexusFlags & { readonly json?: boolean }, io: CliIo): Promise<number> {
	return withApi("ca status", flags, io, async (api) => {
		const view = await api.json<AuthorityView>("/v1/authority");
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
	return withApi("ca rotate", flags, io, async (api) => {
		const asJson = !io.stdout.isTTY;
		let view = await begin(api, flags.what, io);
		let told = "";
		while (view.rotation !== null) {
			const text = asJson ? `${JSON.stringify(view.rotation)}\n` : `${stepText(view.rotation)}\n${waitsText(view.rotation)}`;
			// Seconds that run down are no news.
			const news = text.replace(/"patienceLeftMs":\d+|waits \d+ s .*\n/, "");
			if (news !== told) io.stdout.write(text);
			told = news;
			if (flags.detach === true) return 0;
			view = await next(api, view, io, context);
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
	return withApi("ca revoke", flags, io, async (api) => {
		if ((serial === undefined) === (identity === undefined)) throw new NexusRefusal("name one of --serial and --identity", 0, "");
		const body = serial === undefined ? { identity } : { serial };
		const answer = await api.json<{ bundleVersion: number }>("/v1/authority/revocations", { method: undo === true ? "DELETE" : "POST", body });
		const what = serial === undefined ? `the identity ${identity}` : `the certificate ${serial}`;
		io.stdout.write(
			io.stdout.isTTY
				? `${what} is ${undo === true ? "off" : "on"} the deny list, from bundle ${answer.bundleVersion} on; sidecars have it within a second\n`
				: `${JSON.stringify(answer)}\n`,
		);
		return 0;
	});
}

/** Opens the API, and tells in one line what went wrong. */
export async function withApi(command: string, flags: NexusFlags, io: CliIo, act: (api: NexusApi) => Promise<number>): Promise<number> {
	const api = await openNexusApi(flags);
	const refuse = (message: string): number => {
		io.stderr.write(`nexus ${command}: ${message}\n`);
		return 1;
	};
	if (typeof api === "string") return refuse(api);
	try {
		return await act(api);
	} catch (thrown) {
		if (!(thrown instanceof NexusRefusal)) throw thrown;
		return refuse(thrown.message);
	}
}

async function begin(api: NexusApi, what: RotateFlags["what"], io: CliIo): Promise<AuthorityView> {
	try {
		return await api.json<AuthorityView>("/v1/authority/rotate", { method: "POST", body: { what } });
	} catch (thrown) {
		if (!(thrown instanceof NexusRefusal) || thrown.reason !== "under_way") throw thrown;
		const view = await api.json<AuthorityView>("/v1/authority");
		// Over between the two, or another one: the refusal stands.
		if (view.rotation?.what !== what) throw thrown;
		io.stderr.write("a rotation of this kind is under way already; this is how it goes on\n");
		return view;
	}
}

/** The state a moment later, however often Nexus restarts meanwhile. */
async function next(api: NexusApi, before: AuthorityView, io: CliIo, { clock, signal }: CaContext): Promise<AuthorityView> {
	let isLost = false;
	for (;;) {
		// Nexus will show a certificate under the new root: believed, as it says so under the old one.
		if (before.rotation?.what === "root") await learnRoots(api, before.trustDomain);
		await pause(LOOK_MS, clock, signal);
		try {
			return await api.json<AuthorityView>("/v1/authority");
		} catch (thrown) {
			if (!(thrown instanceof NexusRefusal) || (thrown.status !== 0 && thrown.status < 500)) throw thrown;
			if (!isLost) io.stderr.write(`${thrown.message}; waiting for it: the rotation goes on with it\n`);
			isLost = true;
		}
	}
}

async function learnRoots(api: NexusApi, trustDomain: string): Promise<void> {
	try {
		const { bundle } = await api.json<{ bundle: { trustDomains: Record<string, string> } }>("/v1/trust-bundle");
		api.trust(bundle.trustDomains[trustDomain] ?? "");
	} catch (thrown) {
		// Nexus is away for a moment; there is another try.
		if (!(thrown instanceof NexusRefusal)) throw thrown;
	}
}

function doneText(what: RotateFlags["what"], { intermediates, roots }: AuthorityView): string {
	const issuing = intermediates.find(({ role }) => role === "issuing");
	const root = roots.find(({ role }) => role === "issuing");
	const copies = what === "root" ? "; replace the copies of ca.pem that people and tools outside of the mesh use" : "";
	return `done: ${issuing?.subject ?? ""} (serial ${issuing?.serial ?? ""}) issues under ${root?.subject ?? ""}${copies}\n`;
}
