/** docs/identity.md: written by hand, but for its table of what each failure of TLS means. */
import { readFileSync } from "node:fs";
import { REASON_CODES, REASONS } from "../../src/core/reasons.ts";
import type { Page } from "../generate.ts";

const FILE = new URL("../identity.md", import.meta.url);
const REGION = /(<!-- begin: [^>]*-->\n)[\s\S]*?(<!-- end -->)/;

export const identityPage: Page = {
	file: "docs/identity.md",
	render: () => readFileSync(FILE, "utf8").replace(REGION, (_, begin: string, end: string) => `${begin}\n${table()}\n${end}`),
};

function table(): string {
	const rows = REASON_CODES.filter((code) => code.startsWith("tls_")).map((code) => {
		const { status, title, hint } = REASONS[code];
		return `| \`${code}\` | ${status} | ${title} | ${hint} |\n`;
	});
	return `| reason | status | what happened | what to do |\n|---|---|---|---|\n${rows.join("")}`;
}
