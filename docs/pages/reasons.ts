/** docs/reasons.md: every reason that a local answer can have, made from the catalogue. */
import { REASON_CODES, REASONS } from "../../src/core/reasons.ts";
import type { Page } from "../generate.ts";

const HEAD = `# Reasons

<!-- Made by \`node docs/generate.ts\` from src/core/reasons.ts: change it there. -->

When the sidecar answers a request itself, the answer says why: in the header \`x-nexus-reason\`, in a JSON body (RFC 9457), and by the
same code in the access log, in the metric \`nexus_local_answers_total\` and in events. A status without this header came from the
service itself.

*Side* tells where to look: \`downstream\` is the client in front of the sidecar, \`upstream\` the service behind it, \`mesh\` the policy or
the sidecar. After a reason that *closes*, the client's connection ends.

| reason | status | side | closes | what happened | what to do |
|---|---|---|---|---|---|
`;

export const reasonsPage: Page = {
	file: "docs/reasons.md",
	render: () =>
		HEAD +
		REASON_CODES.map((code) => {
			const { status, side, closes, title, hint } = REASONS[code];
			return `| \`${code}\` | ${status} | ${side} | ${closes ? "yes" : ""} | ${title} | ${hint} |\n`;
		}).join(""),
};
