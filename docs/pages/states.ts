/** docs/states.md: the state machines of the product as diagrams, made from the tables that they obey. */
import { BREAKER_EDGES, BREAKER_STATES } from "../../src/resilience/breaker/breaker-states.ts";
import type { Page } from "../generate.ts";

interface StateMachine {
	readonly title: string;
	/** Where the table stands. */
	readonly source: string;
	/** What it is and who owns it. */
	readonly about: string;
	readonly initial: string;
	/** What holds in each state. */
	readonly states: Readonly<Record<string, string>>;
	readonly edges: readonly { readonly from: string; readonly event: string; readonly to: string; readonly when: string }[];
}

const MACHINES: readonly StateMachine[] = [
	{
		title: "Circuit breaker",
		source: "src/resilience/breaker/breaker-states.ts",
		about:
			"One for each upstream, endpoint or route, by `circuitBreaker.scope`. What was sent in one state is not judged in the next: a late " +
			"answer neither opens nor closes anything.",
		initial: "closed",
		states: BREAKER_STATES,
		edges: BREAKER_EDGES,
	},
];

const HEAD = `# State machines

<!-- Made by \`node docs/generate.ts\` from the tables named below: change them there. -->

Each machine has one table of its ways from state to state. The code obeys the table; a way that is not in it does not exist.
`;

export const statesPage: Page = {
	file: "docs/states.md",
	render: () => HEAD + MACHINES.map(machineText).join(""),
};

function machineText({ title, source, about, initial, states, edges }: StateMachine): string {
	return `
## ${title}

${about} The table: \`${source}\`.

\`\`\`mermaid
stateDiagram-v2
${Object.keys(states)
	.map((name) => `    state "${name}" as ${idOf(name)}\n`)
	.join("")}    [*] --> ${idOf(initial)}
${edges.map(({ from, event, to }) => `    ${idOf(from)} --> ${idOf(to)}: ${event}\n`).join("")}\`\`\`

| state | what holds |
|---|---|
${Object.entries(states)
	.map(([name, words]) => `| ${name} | ${words} |\n`)
	.join("")}
| from | event | to | when |
|---|---|---|---|
${edges.map(({ from, event, to, when }) => `| ${from} | ${event} | ${to} | ${when} |\n`).join("")}`;
}

/** Mermaid's identifiers know no hyphens. */
function idOf(state: string): string {
	return state.replaceAll("-", "_");
}
