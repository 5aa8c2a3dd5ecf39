/** The commands, their options and their help. Which code stands behind `sidecar` and `serve` is handed in: cli/ knows neither. */
import { Command, CommanderError, Option } from "commander";
import { systemClock } from "../core/clock.ts";
import { addAuthz } from "./authz-command.ts";
import { addEvents, addSchemas } from "./events-command.ts";
import { examples } from "./examples.ts";
import type { ExplainOptions } from "./explain.ts";
import { addCa, addToken } from "./identity-commands.ts";
import type { CliIo } from "./io.ts";
import type { LogContext } from "./log.ts";
import { addLog } from "./log-command.ts";
import { addMtls } from "./mtls-command.ts";
import { addPolicies, addServices } from "./policy-commands.ts";
import { wholeNumber } from "./shared-options.ts";
import { listenForStop } from "./stop-signals.ts";
import { addDeadLetters, addSubscriptions } from "./subscription-commands.ts";
import type { TapCommandOptions } from "./tap.ts";

/** Exit codes, of every command alike. */
export const EXIT = Object.freeze({
	/** Also where the reader of our output has gone away (`| head`). */
	ok: 0,
	/** What was asked is clear, but the input is wrong: a policy with faults, no such file, nobody listening there. */
	input: 1,
	/** The command line itself is wrong. */
	usage: 2,
	/** A fault of ours (EX_SOFTWARE of sysexits.h). */
	fault: 70,
});

/** The long-running roles; each resolves with the exit code once all is drained. */
export interface Roles {
	readonly sidecar: (options: { configFile: string }) => Promise<number>;
	readonly serve: (options: { configFile?: string; listen?: string; dataDir?: string }) => Promise<number>;
	/** Work on event logs that are not open. */
	readonly logTools: LogContext["tools"];
}

/** `argv` without the program and its path. Resolves with the exit code; rejects only for a fault of ours. */
export async function runProgram(argv: readonly string[], roles: Roles, io: CliIo, version: string): Promise<number> {
	let code: number = EXIT.ok;
	const program = buildProgram(roles, io, version, (result) => {
		code = result;
	});
	try {
		await program.parseAsync(argv, { from: "user" });
		return code;
	} catch (error) {
		if (!(error instanceof CommanderError)) throw error;
		// Help and version end here as well, with 0; commander's own 1 means usage.
		return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
	}
}

/** `done` gets the exit code of the command that ran. */
export function buildProgram(roles: Roles, io: CliIo, version: string, done: (code: number) => void): Command {
	const program = new Command("nexus")
		.description("A service mesh that a team can run with Node alone.")
		.version(version)
		.exitOverride()
		.enablePositionalOptions()
		.showSuggestionAfterError()
		.showHelpAfterError("Try `nexus --help`, or `nexus COMMAND --help`.")
		.configureOutput({
			writeOut: (text) => io.stdout.write(text),
			writeErr: (text) => io.stderr.write(text),
			getOutHelpWidth: () => io.stdout.columns,
			getErrHelpWidth: () => io.stderr.columns,
			getOutHasColors: () => io.colour,
			getErrHasColors: () => io.colour,
		})
		.addHelpText("after", "\nExit codes: 0 fine, 1 the input is wrong, 2 usage, 70 a fault of ours.");
	addRoles(program, roles, done);
	addMesh(program, io, done);
	addPolicy(program, io, done);
	addEvents(program, io, done, stopSignal);
	addSchemas(program, io, done);
	addPolicies(program, io, done);
	addSubscriptions(program, io, done);
	addDeadLetters(program, io, done, stopSignal);
	addServices(program, io, done);
	addTap(program, io, done);
	addMtls(program, io, done);
	addAuthz(program, io, done);
	addCa(program, io, done, stopSignal);
	addToken(program, io, done);
	addLog(program, io, roles.logTools, done, stopSignal);
	return program;
}

function addRoles(program: Command, roles: Roles, done: (code: number) => void): void {
	program
		.command("sidecar")
		.description("run a sidecar: the proxy next to a service")
		.requiredOption("--config <file>", "policy file")
		.addHelpText(
			"after",
			examples(
				["nexus sidecar --config config/samples/shop/checkout.yaml", "run until SIGTERM, which drains; a second signal ends at once"],
				["kill -HUP PID", "read the policy again (a changed file is noticed by itself)"],
			),
		)
		.action(async (options: { config: string }) => done(await roles.sidecar({ configFile: options.config })));

	program
		.command("serve")
		.description("run Nexus: receives, keeps and hands out the events of the mesh")
		.option("--config <file>", "configuration file")
		.option("--listen <host:port>", "where the API listens (default: 127.0.0.1:7400)")
		.option("--data <dir>", "where the event log is kept")
		.addHelpText(
			"after",
			examples(
				["nexus serve --data ./nexus-data", "keep events in ./nexus-data, API on 127.0.0.1:7400"],
				["curl http://127.0.0.1:7400/v1/events?limit=5", "the first five events"],
			),
		)
		.action(async (options: { config?: string; listen?: string; data?: string }) =>
			done(
				await roles.serve({
					...(options.config === undefined ? {} : { configFile: options.config }),
					...(options.listen === undefined ? {} : { listen: options.listen }),
					...(options.data === undefined ? {} : { dataDir: options.data }),
				}),
			),
		);
}

function addMesh(program: Command, io: CliIo, done: (code: number) => void): void {
	program
		.command("up")
		.description("a whole local mesh: Nexus, sample services, a sidecar each")
		.option("--config <file>", "what belongs to the mesh (default: config/samples/shop/mesh.json)")
		.addHelpText(
			"after",
			examples(
				["nexus up", "the sample shop on loopback; Ctrl-C stops all of it"],
				["nexus up | tee mesh.log", "one line every few seconds instead of a live one"],
			),
		)
		.action(async (options: { config?: string }) => {
			const { runUp } = await import("./up.ts");
			done(await runUp(options.config === undefined ? {} : { meshFile: options.config }, io));
		});

	program
		.command("run")
		.description("a sidecar and your application as one unit, started and stopped in the right order")
		.requiredOption("--config <file>", "policy file of the sidecar")
		.argument("<command...>", "the application, after --")
		.passThroughOptions()
		.addHelpText(
			"after",
			`${examples(
				["nexus run --config checkout.yaml -- node app.js", "exit code and signals are those of the application"],
				["nexus run --config checkout.yaml -- sh -c 'exec ./server --port 3000'", "anything that can be started"],
			)}
The application finds in its environment:
  NEXUS_SERVICE    name of the service, from the policy
  NEXUS_OUTBOUND   http://HOST:PORT of the outbound listener, if the policy has one
HTTP_PROXY is left alone: set it to $NEXUS_OUTBOUND where the application shall go through the mesh without a change.`,
		)
		.action(async (command: string[], options: { config: string }) => {
			const { runUnit } = await import("./run.ts");
			done(await runUnit({ configFile: options.config, command }, io));
		});
}

function addPolicy(program: Command, io: CliIo, done: (code: number) => void): void {
	program
		.command("check")
		.description("validate policy files: every fault with file:line:column and a hint")
		.argument("<file...>", "policy files")
		.addHelpText("after", examples(["nexus check config/samples/shop/*.yaml", "exit code 1 on any fault"]))
		.action(async (files: string[]) => {
			const { runCheck } = await import("./check.ts");
			done(await runCheck(files, io));
		});

	program
		.command("explain")
		.description("the decision trace of one request, offline")
		.argument("<file>", "policy file")
		.requiredOption("--url <url>", "target: absolute, or a path together with a Host header")
		.option("--method <method>", "request method", "GET")
		.option("--header <name: value>", "a request header; may be repeated", collect, [])
		.option("--from <who>", "the caller: its address; with --direction inbound also its service or SPIFFE ID, or unauthenticated")
		.addOption(new Option("--direction <direction>", "which listener the request arrives at").choices(["inbound", "outbound"]).default("outbound"))
		.option("--live <url>", "add the state of a running sidecar: its admin API")
		.option("--state <file>", "add a state that was saved before")
		.option("--save-state <file>", "keep the state that --live has given")
		.option("--json", "machine-readable; the default where the output is no terminal")
		.option("--text", "readable, also where the output is no terminal")
		.addHelpText(
			"after",
			`${examples(
				["nexus explain checkout.yaml --url http://payments/pay/1", "which route, endpoints, timeouts and retries it would meet, and why"],
				["nexus explain checkout.yaml --method POST --url /pay/1 --header 'Host: payments' --header 'x-beta: 1'", "with headers"],
				["nexus explain checkout.yaml --url http://payments/ --live http://127.0.0.1:15000", "with breakers, ejections and health as they are now"],
				["nexus explain checkout.yaml --url http://payments/ --live http://127.0.0.1:15000 --save-state s.json", "the same, to be asked again later"],
				["nexus explain checkout.yaml --direction inbound --from frontend --url /orders/7", "may it call, and by which rule"],
				["nexus explain checkout.yaml --url http://payments/ --state s.json", "as it was then; the output of GET /upstreams will do as well"],
			)}`,
		)
		.action(async (file: string, options: ExplainOptions) => {
			const { runExplain } = await import("./explain.ts");
			done(await runExplain(file, options, io));
		});
}

function addTap(program: Command, io: CliIo, done: (code: number) => void): void {
	program
		.command("tap")
		.description("live decision traces of one sidecar: why each request goes as it does")
		.argument("<url>", "its admin API")
		.option("--route <name>", "route of the policy")
		.option("--upstream <name>", "upstream that it went to")
		.option("--status <status>", "answers with this status, or of this class: 503, 5xx")
		.option("--reason <code>", "answers of the sidecar itself with this reason: breaker_open (docs/reasons.md)")
		.option("--method <method>", "request method")
		.option("--host <host>", "host of the request; `*.suffix` allowed")
		.option("--header <name:value>", "a header of the request; may be repeated", collect, [])
		.option("--min-duration <time>", "only those that took so long: 250ms")
		.option("--rate <count>", "traces a second at most (default: 10); the rest is counted", wholeNumber)
		.option("--limit <count>", "end after so many", wholeNumber)
		.option("--json", "one JSON object a line", false)
		.addHelpText(
			"after",
			`${examples(
				["nexus tap http://127.0.0.1:15000", "every request, with each decision and the line of the policy behind it"],
				["nexus tap http://127.0.0.1:15000 --upstream payments --status 5xx", "what goes wrong on the way to payments"],
				["nexus tap http://127.0.0.1:15000 --min-duration 1s --limit 1", "the next request that takes longer than a second"],
				["nexus tap http://127.0.0.1:15000 --header x-user:alice --json | jq .decisions", "as JSON, for one user"],
			)}
Ctrl-C ends it. While nobody taps, a sidecar collects nothing.`,
		)
		.action(async (url: string, options: Omit<TapCommandOptions, "url">) => {
			const { runTap } = await import("./tap.ts");
			done(await runTap({ ...options, url }, io, { clock: systemClock, signal: stopSignal() }));
		});
}

/** Aborted by Ctrl-C and its kin. Who asks twice does not want to wait for what is under way. */
function stopSignal(): AbortSignal {
	const abort = new AbortController();
	const { first, second } = listenForStop(process, systemClock);
	void first.then(() => abort.abort());
	void second.then((signal) => {
		process.removeAllListeners(signal);
		process.kill(process.pid, signal);
	});
	return abort.signal;
}

function collect(value: string, before: string[]): string[] {
	return [...before, value];
}
