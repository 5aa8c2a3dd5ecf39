/** docs/access-log.md: what a line of the access log holds, made from the code that writes it. */
import { ACCESS_LOG_FIELDS } from "../../src/telemetry/access-log.ts";
import type { Page } from "../generate.ts";

const HEAD = `# Access log

<!-- Made by \`node docs/generate.ts\` from src/telemetry/access-log.ts: change it there. -->

With \`accessLog: { sample: 1.0 }\` in the policy, each exchange becomes one line of JSON on standard output when it ends; with a smaller
sample, that part of them, drawn at random. The program's own log goes to standard error.

Lines leave in batches (256 lines, 64 KiB or 100 ms, whichever comes first). The log never holds up a request: where its reader stops or
the disk is full, up to 4 MiB wait in memory, and what is beyond that is dropped and counted in
\`nexus_access_log_lines_total{result="dropped"}\`.

| field | meaning |
|---|---|
`;

export const accessLogPage: Page = {
	file: "docs/access-log.md",
	render: () =>
		HEAD +
		Object.entries(ACCESS_LOG_FIELDS)
			.map(([name, meaning]) => `| \`${name}\` | ${meaning} |\n`)
			.join(""),
};
