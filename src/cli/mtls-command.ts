/** `nexus mtls`: its options and help. */
import type { Command } from "commander";
import { examples } from "./examples.ts";
import type { CliIo } from "./io.ts";

/** `done` gets the exit code. */
export function addMtls(program: Command, io: CliIo, done: (code: number) => void): void {
	const mtls = program.command("mtls").description("encryption between services");
	mtls
		.command("status")
		.description("certificates of sidecars, who still calls in plain text, what TLS has failed for")
		.argument("<url...>", "their admin APIs")
		.option("--json", "one JSON object a line; the default where the output is no terminal")
		.addHelpText(
			"after",
			`${examples(
				["nexus mtls status http://127.0.0.1:15000", "one sidecar: may its inbound port become strict?"],
				["nexus mtls status http://127.0.0.1:15000 http://127.0.0.1:15010", "several, in one table"],
				["nexus mtls status http://127.0.0.1:15000 | jq -r .strict.verdict", "on, safe, not_yet, unknown or off"],
			)}
Exit code 1 where a sidecar could not be asked; the others are shown all the same.`,
		)
		.action(async (urls: string[], options: { json?: boolean }) => {
			const { runMtlsStatus } = await import("./mtls-status.ts");
			done(await runMtlsStatus({ urls, ...options }, io));
		});
}
