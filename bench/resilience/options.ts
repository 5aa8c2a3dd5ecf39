/** The command line of `npm run bench -- resilience`, checked as a whole. */
import { parseArgs } from "node:util";
import { messageOf } from "../../src/core/errors.ts";
import { list, whole } from "../options.ts";
import { SCENARIO_NAMES, type ScenarioName } from "./scenarios.ts";
import { SETUPS, type Setup } from "./settings.ts";

export interface ResilienceOptions {
	readonly rounds: number;
	readonly seconds: number;
	readonly rate: number;
	readonly connections: number;
	readonly scenarios: readonly ScenarioName[];
	readonly setups: readonly Setup[];
	readonly quick: boolean;
	readonly json: boolean;
	readonly docs: boolean;
}

// One that ends what it kills, and one that answers all the time.
const QUICK_SCENARIOS: readonly ScenarioName[] = ["dies", "fails-fast"];
const QUICK_SETUPS = ["nexus-off", "nexus-all", "envoy-off", "envoy-all"];

export const RESILIENCE_HELP = `npm run bench -- resilience [options]      what clients see while endpoints die, hang, slow down and fail, beside Envoy

  --rounds N          rounds of everything (1); figures are medians over them
  --seconds N         counted seconds of each scenario (10); the fault lasts from 30 % to 70 % of them
  --rate N            requests per second (400)
  --connections N     client connections that share them (200)
  --scenarios A,B     of: ${SCENARIO_NAMES.join(", ")}
  --only A,B          of: ${SETUPS.map(({ name }) => name).join(", ")}
  --quick             ${QUICK_SCENARIOS.join(" and ")} for 3 s, to see that it works; its figures mean nothing
  --json              prints the results as JSON instead of tables
  --docs              rewrites the results in docs/resilience.md
  --help

Example: npm run bench -- resilience --scenarios hangs --only nexus-all,envoy-all
Environment: ENVOY_BIN, where Envoy is neither in .runtime/envoy nor on PATH.
`;

export type ParsedResilience =
	| { readonly kind: "run"; readonly options: ResilienceOptions }
	| { readonly kind: "help" }
	| { readonly kind: "wrong"; readonly message: string };

export function parseResilienceOptions(argv: readonly string[]): ParsedResilience {
	try {
		return parse(argv);
	} catch (thrown) {
		return { kind: "wrong", message: messageOf(thrown) };
	}
}

function parse(argv: readonly string[]): ParsedResilience {
	const { values } = parseArgs({
		args: [...argv],
		options: {
			rounds: { type: "string" },
			seconds: { type: "string" },
			rate: { type: "string" },
			connections: { type: "string" },
			scenarios: { type: "string" },
			only: { type: "string" },
			quick: { type: "boolean", default: false },
			json: { type: "boolean", default: false },
			docs: { type: "boolean", default: false },
			help: { type: "boolean", default: false },
		},
	});
	if (values.help) return { kind: "help" };
	const quick = values.quick;
	if (quick && values.docs) throw new Error("--docs publishes figures, and those of --quick mean nothing");
	const known = SETUPS.map(({ name }) => name);
	const names = values.only === undefined && quick ? QUICK_SETUPS : list("--only", values.only, known);
	const options: ResilienceOptions = {
		rounds: whole("--rounds", values.rounds, 1),
		seconds: whole("--seconds", values.seconds, quick ? 3 : 10),
		rate: whole("--rate", values.rate, quick ? 200 : 400),
		connections: whole("--connections", values.connections, quick ? 50 : 200),
		scenarios: values.scenarios === undefined && quick ? QUICK_SCENARIOS : list("--scenarios", values.scenarios, SCENARIO_NAMES),
		setups: SETUPS.filter(({ name }) => names.includes(name)),
		quick,
		json: values.json,
		docs: values.docs,
	};
	return { kind: "run", options };
}
