/** `nexus authz`: its options and help. */
import type { Command } from "commander";
import { examples } from "./examples.ts";
import type { CliIo } from "./io.ts";

/** `done` gets the exit code. */
export function addAuthz(program: Command, io: CliIo, done: (code: number) => void): void {
	const authz = program.command("authz").description("who may call whom");
	authz
		.command("matrix")
		.description("a table of callers and services over a set of policies: yes, some or no, and what dry runs would change")
		.argument("<file...>", "policy files, one for each service")
		.option("--json", "machine-readable; the default where the output is no terminal")
		.addHelpText(
			"after",
			`${examples(
				["nexus authz matrix config/samples/shop/*.yaml", "all services of a folder: a row for each caller, a column for each service"],
				[
					'nexus authz matrix *.yaml | jq -r \'.cells[] | select(.access != "none") | .caller + " -> " + .service\'',
					"who may call whom, one pair a line",
				],
				["nexus explain orders.yaml --direction inbound --from frontend --url /orders/7", "why: each rule, for one request"],
			)}
A service without rules lets everybody in that its TLS lets in. \`some\` hangs on method, path, header or port: the rules stand below the table.
\`no -> yes\` is what a dry run would make of it. Exit code 1 where a policy has faults.`,
		)
		.action(async (files: string[], options: { json?: boolean }) => {
			const { runAuthzMatrix } = await import("./authz-matrix.ts");
			done(await runAuthzMatrix({ files, ...options }, io));
		});
}
