/** The commands around identities, with their options and help: `nexus ca` and `nexus token`. */
import { type Command, Option } from "commander";
import { systemClock } from "../core/clock.ts";
import type { RevokeFlags } from "./ca.ts";
import type { CaInitOptions } from "./ca-init.ts";
import { examples } from "./examples.ts";
import type { CliIo } from "./io.ts";
import type { NexusFlags } from "./nexus-api.ts";
import { nexusOptions, wholeNumber } from "./shared-options.ts";
import type { TokenCreateFlags, TokenRotateFlags } from "./token.ts";

const REMOTE = "--url https://127.0.0.1:7400 --ca certs/ca.pem --token-file .nexus/data/operator.token";

/** `stopSignal`: aborted by Ctrl-C and its kin. */
export function addCa(program: Command, io: CliIo, done: (code: number) => void, stopSignal: () => AbortSignal): void {
	const ca = program
		.command("ca")
		.description("the certificate authority of a mesh: make it, look at it, rotate, revoke")
		.addHelpText(
			"after",
			examples(
				["nexus ca init --dir certs", "root and intermediate in an empty folder; no other tool is needed"],
				[`nexus ca status ${REMOTE}`, "authorities, deny list, workloads, and a rotation under way"],
				[`nexus ca rotate --root ${REMOTE}`, "a new root, while the mesh runs"],
			),
		);

	ca.command("init")
		.description("make a new authority in a folder")
		.option("--dir <dir>", "the folder", "certs")
		.option("--trust-domain <name>", "name of the mesh, part of every identity", "mesh.local")
		.addHelpText(
			"after",
			examples(
				["nexus ca init", "in ./certs, for the trust domain mesh.local"],
				["nexus ca init --dir /etc/nexus/ca --trust-domain shop.example", "identities are spiffe://shop.example/SERVICE"],
			),
		)
		.action(async (options: CaInitOptions) => {
			const { runCaInit } = await import("./ca-init.ts");
			done(await runCaInit(options, io, systemClock));
		});

	nexusOptions(ca.command("status").description("state of the authority of a running Nexus"))
		.option("--json", "JSON in a terminal as well")
		.addHelpText(
			"after",
			examples([`nexus ca status ${REMOTE}`, "as tables"], [`nexus ca status ${REMOTE} | jq .workloads`, "JSON, as the output is a pipe"]),
		)
		.action(async (options: NexusFlags & { json?: boolean }) => {
			const { runCaStatus } = await import("./ca.ts");
			done(await runCaStatus(options, io));
		});

	nexusOptions(
		ca.command("rotate").description("replace the intermediate, or root and intermediate, step by step; Ctrl-C leaves it to go on by itself"),
	)
		.addOption(new Option("--intermediate", "the intermediate alone (default)").conflicts("root"))
		.option("--root", "root and intermediate")
		.option("--detach", "begin it, and do not wait")
		.addHelpText(
			"after",
			`${examples(
				[`nexus ca rotate ${REMOTE}`, "a new intermediate"],
				[`nexus ca rotate --root ${REMOTE}`, "a new root: made known first, then issuing, then the old one is retired"],
			)}
Each step waits for every workload whose certificate has not ended. One that is gone for good need not be waited for:
\`nexus ca revoke --serial SERIAL\`.`,
		)
		.action(async ({ root, intermediate: _, ...options }: NexusFlags & { root?: boolean; intermediate?: boolean; detach?: boolean }) => {
			const { runCaRotate } = await import("./ca.ts");
			const signal = stopSignal();
			try {
				done(await runCaRotate({ ...options, what: root === true ? "root" : "intermediate" }, io, { clock: systemClock, signal }));
			} catch (thrown) {
				if (!signal.aborted) throw thrown;
				done(0);
			}
		});

	nexusOptions(ca.command("revoke").description("put a certificate or a service on the deny list, within a second everywhere"))
		.option("--serial <hex>", "serial number of a certificate")
		.option("--identity <service>", "a service, by name or SPIFFE ID: all its certificates, and it gets no further ones")
		.option("--undo", "take it off the list again")
		.addHelpText(
			"after",
			examples(
				[`nexus ca revoke --serial 5f:0c:9a:11 ${REMOTE}`, "one certificate"],
				[`nexus ca revoke --identity payments ${REMOTE}`, "whoever calls itself payments"],
				[`nexus ca revoke --identity payments --undo ${REMOTE}`, "let it in again"],
			),
		)
		.action(async (options: RevokeFlags) => {
			const { runCaRevoke } = await import("./ca.ts");
			done(await runCaRevoke(options, io));
		});
}

export function addToken(program: Command, io: CliIo, done: (code: number) => void): void {
	const token = program
		.command("token")
		.description("tokens: for services that join the mesh, and for callers of the API")
		.addHelpText(
			"after",
			examples(
				[`nexus token create --service payments --ttl 10m --uses 1 ${REMOTE}`, "with which a sidecar gets its first certificate"],
				[`nexus token list ${REMOTE}`, "which there are; never their secrets"],
			),
		);

	nexusOptions(token.command("create").description("make a token; it is shown this once"))
		.option("--service <name>", "a join token for this service")
		.option("--uses <count>", "certificates that it is good for (default: 1)", wholeNumber)
		.addOption(new Option("--role <role>", "a token for the API").choices(["read", "ingest", "operate"]))
		.option("--name <text>", "whose it is, for --role")
		.option("--types <pattern...>", "with --role ingest: types of events that alone may be published, `*` allowed")
		.option("--sources <pattern...>", "with --role ingest: the same of sources")
		.option("--ttl <time>", "how long it holds (default: 10m to join, for the API until it is deleted)")
		.option("--out <file>", "write it there, mode 0600, instead of showing it")
		.addHelpText(
			"after",
			examples(
				[`nexus token create --service payments --ttl 10m --uses 1 --out join.token ${REMOTE}`, "for identity.nexus.tokenFile of its sidecar"],
				[`nexus token create --role read --name grafana ${REMOTE}`, "for the dashboards"],
				[`nexus token create --role ingest --name shop --types 'shop.*' ${REMOTE}`, "for a producer, of these types alone"],
			),
		)
		.action(async (options: TokenCreateFlags) => {
			const { runTokenCreate } = await import("./token.ts");
			done(await runTokenCreate(options, io));
		});

	nexusOptions(
		token
			.command("rotate")
			.description("give an API token another secret; the one before holds for a while more")
			.argument("<id>", "as `nexus token list` shows it"),
	)
		.option("--grace <time>", "how long the secret before holds (default: 24h; 0s: no longer)")
		.option("--ttl <time>", "how long the token holds from now on (default: as long as before)")
		.option("--out <file>", "write it there, mode 0600, instead of showing it")
		.addHelpText(
			"after",
			examples([`nexus token rotate 0c9a115f33aa0102 --out grafana.token ${REMOTE}`, "then `nexus token retire` once nobody uses the former"]),
		)
		.action(async (id: string, options: TokenRotateFlags) => {
			const { runTokenRotate } = await import("./token.ts");
			done(await runTokenRotate(id, options, io));
		});

	nexusOptions(
		token.command("retire").description("end the secret before the last rotation, at once").argument("<id>", "as `nexus token list` shows it"),
	)
		.addHelpText("after", examples([`nexus token retire 0c9a115f33aa0102 ${REMOTE}`, "the token itself goes on with its new secret"]))
		.action(async (id: string, options: NexusFlags) => {
			const { runTokenRetire } = await import("./token.ts");
			done(await runTokenRetire(id, options, io));
		});

	nexusOptions(token.command("list").description("all tokens, the newest first"))
		.option("--json", "JSON in a terminal as well")
		.addHelpText("after", examples([`nexus token list ${REMOTE}`, "which there are"]))
		.action(async (options: NexusFlags & { json?: boolean }) => {
			const { runTokenList } = await import("./token.ts");
			done(await runTokenList(options, io));
		});

	nexusOptions(token.command("delete").description("take a token back, at once").argument("<id>", "as `nexus token list` shows it"))
		.addHelpText("after", examples([`nexus token delete 0c9a115f33aa0102 ${REMOTE}`, "it holds no longer"]))
		.action(async (id: string, options: NexusFlags) => {
			const { runTokenDelete } = await import("./token.ts");
			done(await runTokenDelete(id, options, io));
		});
}
