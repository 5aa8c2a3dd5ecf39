/** The commands around what Nexus gives to sidecars, with their options and help: `nexus policies` and `nexus services`. */
import { type Command, Option } from "commander";
import { examples } from "./examples.ts";
import type { CliIo } from "./io.ts";
import type { NexusFlags } from "./nexus-api.ts";
import type { PolicyFlags, PutFlags, RollbackFlags, ShowFlags } from "./policies.ts";
import { nexusOptions, wholeNumber } from "./shared-options.ts";

const AS_JSON = "JSON in a terminal as well";

export function addPolicies(program: Command, io: CliIo, done: (code: number) => void): void {
	const policies = program
		.command("policies")
		.description("the policies that Nexus gives to sidecars: look, put, roll out, roll back")
		.addHelpText(
			"after",
			`${examples(
				[
					"nexus policies put checkout checkout.yaml --reason 'longer timeout'",
					"to one instance, a tenth, all; taken back by itself where it does harm",
				],
				["nexus policies status checkout", "which instance runs which version since when"],
				["nexus policies rollback checkout", "the version before, for all at once"],
			)}
A sidecar takes its policy from Nexus where its own file says \`policy: { source: nexus }\`.`,
		);

	nexusOptions(policies.command("list").description("all services that have one"))
		.option("--json", AS_JSON)
		.addHelpText("after", examples(["nexus policies list", "services, versions, how many instances have it"]))
		.action(async (options: PolicyFlags) => {
			const { runPoliciesList } = await import("./policies.ts");
			done(await runPoliciesList(options, io));
		});

	nexusOptions(policies.command("show").description("the text of a policy").argument("<service>"))
		.option("--version <number>", "an earlier one", wholeNumber)
		.option("--history", "who has put which version, and why", false)
		.option("--json", AS_JSON)
		.addHelpText(
			"after",
			examples(
				["nexus policies show checkout > checkout.yaml", "to change it and put it back"],
				["nexus policies show checkout --history", "the last 20 versions"],
			),
		)
		.action(async (service: string, options: ShowFlags) => {
			const { runPoliciesShow } = await import("./policies.ts");
			done(await runPoliciesShow(service, options, io));
		});

	nexusOptions(policies.command("put").description("give a service another policy").argument("<service>").argument("<file>", "policy file"))
		.option("--reason <text>", "why, for people")
		.option("--if-version <number>", "only if that is the latest version: nobody else has changed it", wholeNumber)
		.addOption(new Option("--at-once", "to all instances, without a look").conflicts(["stages", "hold", "patience", "requests"]))
		.option("--stages <list>", "instances or shares, one after the other: 1,10%,all")
		.option("--hold <time>", "how long each stage is looked at, at least (default: 30s)")
		.option("--patience <time>", "how long a stage waits for instances, and for requests to judge by (default: 3m)")
		.option("--requests <count>", "with it and without, before a stage counts as fine (default: 100)", wholeNumber)
		.option("--json", AS_JSON)
		.addHelpText(
			"after",
			examples(
				["nexus policies put checkout checkout.yaml --reason 'retry payments'", "one instance, 10 %, all"],
				["nexus policies put checkout checkout.yaml --at-once", "everybody now"],
				["nexus policies put checkout checkout.yaml --stages 2,25%,50% --hold 5m", "with more care"],
			),
		)
		.action(async (service: string, file: string, options: PutFlags) => {
			const { runPoliciesPut } = await import("./policies.ts");
			done(await runPoliciesPut(service, file, options, io));
		});

	nexusOptions(policies.command("status").description("which instance runs which version, and how a roll-out goes").argument("<service>"))
		.option("--json", AS_JSON)
		.addHelpText("after", examples(["nexus policies status checkout", "instances, versions, refusals with their places"]))
		.action(async (service: string, options: PolicyFlags) => {
			const { runPoliciesStatus } = await import("./policies.ts");
			done(await runPoliciesStatus(service, options, io));
		});

	nexusOptions(policies.command("rollback").description("end a roll-out, or go back to an earlier version, at once").argument("<service>"))
		.option("--to <number>", "the version (default: the one before)", wholeNumber)
		.option("--reason <text>", "why, for people")
		.option("--json", AS_JSON)
		.addHelpText(
			"after",
			examples(
				["nexus policies rollback checkout --reason 'errors in payments'", "ends what is being rolled out, else the version before"],
				["nexus policies rollback checkout --to 12", "the text of version 12"],
			),
		)
		.action(async (service: string, options: RollbackFlags) => {
			const { runPoliciesRollback } = await import("./policies.ts");
			done(await runPoliciesRollback(service, options, io));
		});
}

export function addServices(program: Command, io: CliIo, done: (code: number) => void): void {
	nexusOptions(program.command("services").description("the instances that have registered at Nexus").argument("[service]", "one service alone"))
		.option("--json", AS_JSON)
		.addHelpText(
			"after",
			examples(
				["nexus services", "addresses, zones, health, when they were heard"],
				["nexus services payments | jq '.services[].instances[].address'", "JSON, as the output is a pipe"],
			),
		)
		.action(async (service: string | undefined, options: NexusFlags & { json?: boolean }) => {
			const { runServices } = await import("./services.ts");
			done(await runServices(service, options, io));
		});
}
