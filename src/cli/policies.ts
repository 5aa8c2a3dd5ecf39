/** `nexus policies list`, `show`, `put`, `status` and `rollback`: the policies that Nexus has for services. */
import {
	NexusError,
	type PoliciesClient,
	type PolicyPut,
	type PolicyPutReport,
	type PolicyStatus,
	type ProblemFault,
} from "../client/nexus-client.ts";
import { formatFaults, type PolicyFault } from "../policy/load.ts";
import { readTextFile } from "../policy/load-file.ts";
import type { CliIo } from "./io.ts";
import { CommandRefused, type NexusFlags, withNexus } from "./nexus-api.ts";
import { shortTime, shown, tableText } from "./table.ts";

const BAD_POLICY = "bad_policy";

export interface PolicyFlags extends NexusFlags {
	readonly json?: boolean;
}

export function runPoliciesList(flags: PolicyFlags, io: CliIo): Promise<number> {
	return withNexus("policies list", flags, io, async ({ client }) => {
		const policies = await client.policies.list();
		if (isJson(flags, io)) io.stdout.write(`${JSON.stringify({ policies })}\n`);
		else if (policies.length === 0) io.stdout.write("Nexus has no policy; `nexus policies put SERVICE FILE` gives it one\n");
		else {
			const rows = policies.map(({ service, current, instances, upToDate, rollout }) => [
				service,
				String(current),
				`${upToDate} of ${instances}`,
				rollout === null ? "-" : `${rollout.version} to ${rollout.stage}`,
			]);
			io.stdout.write(tableText(["SERVICE", "VERSION", "INSTANCES", "ROLL-OUT"], rows));
		}
		return 0;
	});
}

export interface ShowFlags extends PolicyFlags {
	readonly version?: number;
	/** The versions instead of the text. */
	readonly history?: boolean;
}

/** The text alone, so that it can go to a file and come back changed. */
export function runPoliciesShow(service: string, { version, history, ...flags }: ShowFlags, io: CliIo): Promise<number> {
	return withNexus("policies show", flags, io, async ({ client: { policies } }) => {
		if (history === true) return showHistory(policies, service, flags, io);
		const policy = await policies.get(service, version === undefined ? {} : { version });
		io.stdout.write(flags.json === true ? `${JSON.stringify(policy)}\n` : policy.policy);
		return 0;
	});
}

export interface PutFlags extends PolicyFlags {
	readonly reason?: string;
	/** The version that is expected to be the latest. */
	readonly ifVersion?: number;
	readonly atOnce?: boolean;
	/** Comma between: `1,10%,all`. */
	readonly stages?: string;
	readonly hold?: string;
	readonly patience?: string;
	readonly requests?: number;
}

export function runPoliciesPut(service: string, file: string, flags: PutFlags, io: CliIo): Promise<number> {
	return withNexus("policies put", flags, io, async ({ client }) => {
		const read = await readTextFile(file);
		if (!("text" in read)) throw new CommandRefused(`${file}: ${read.message}`);
		const { reason, ifVersion } = flags;
		const put = { policy: read.text, ...(reason !== undefined && { reason }), rollout: rolloutOf(flags) };
		let answer: PolicyPutReport;
		try {
			answer = await client.policies.put(service, put, ifVersion === undefined ? {} : { ifVersion });
		} catch (thrown) {
			if (!(thrown instanceof NexusError) || thrown.reason !== BAD_POLICY) throw thrown;
			const faults = (thrown.problem.faults ?? []).map((fault) => faultOf(fault, file));
			io.stderr.write(`${formatFaults(faults, read.text, { color: io.colour })}\nnothing has changed\n`);
			return 1;
		}
		io.stdout.write(isJson(flags, io) ? `${JSON.stringify(answer)}\n` : `${putText(answer)}\n`);
		return 0;
	});
}

export function runPoliciesStatus(service: string, flags: PolicyFlags, io: CliIo): Promise<number> {
	return withNexus("policies status", flags, io, async ({ client }) => {
		const status = await client.policies.status(service);
		io.stdout.write(isJson(flags, io) ? `${JSON.stringify(status)}\n` : statusText(status));
		return 0;
	});
}

export interface RollbackFlags extends PolicyFlags {
	readonly to?: number;
	readonly reason?: string;
}

export function runPoliciesRollback(service: string, { to, reason, ...flags }: RollbackFlags, io: CliIo): Promise<number> {
	return withNexus("policies rollback", flags, io, async ({ client }) => {
		const answer = await client.policies.rollBack(service, { ...(to !== undefined && { to }), ...(reason !== undefined && { reason }) });
		const text = answer.changed
			? `${answer.service}: version ${answer.version} has the earlier text, for all instances`
			: `${answer.service}: the roll-out is ended, version ${answer.version} for all instances`;
		io.stdout.write(isJson(flags, io) ? `${JSON.stringify(answer)}\n` : `${text}\n`);
		return 0;
	});
}

async function showHistory(policies: PoliciesClient, service: string, flags: PolicyFlags, io: CliIo): Promise<number> {
	const answer = await policies.versions(service);
	if (isJson(flags, io)) io.stdout.write(`${JSON.stringify(answer)}\n`);
	else {
		const rows = answer.versions.map(({ version, createdAt, author, reason, restores }) => [
			`${version}${version === answer.current ? " *" : ""}`,
			shortTime(createdAt),
			author,
			restores === null ? reason : `${reason === "" ? "" : `${reason} `}(as ${restores})`,
		]);
		io.stdout.write(tableText(["VERSION", "PUT (UTC)", "BY", "WHY"], rows));
	}
	return 0;
}

function rolloutOf({ atOnce, stages, hold, patience, requests }: PutFlags): Required<PolicyPut>["rollout"] {
	if (atOnce === true) return "at-once";
	if (stages === undefined && hold === undefined && patience === undefined && requests === undefined) return "staged";
	return {
		...(stages !== undefined && { stages: stages.split(",").map((stage) => stage.trim()) }),
		...(hold !== undefined && { hold }),
		...(patience !== undefined && { patience }),
		...(requests !== undefined && { requests }),
	};
}

function putText({ service, version, changed, rollout }: PolicyPutReport): string {
	if (!changed) return `${service}: this text is in force already, as version ${version}`;
	if (rollout === "at-once") return `${service}: version ${version}, for all instances at once`;
	return `${service}: version ${version}, to the first instance; \`nexus policies status ${service}\` shows how it goes on`;
}

function statusText({ service, current, rollout, lastRollout, instances }: PolicyStatus): string {
	const lines = [`${service}: version ${current} is in force`];
	if (rollout !== null) {
		const where = rollout.instances.length === 0 ? "" : ` (${rollout.instances.join(", ")})`;
		lines.push(`version ${rollout.version} is being rolled out: ${rollout.stage}${where}, of ${rollout.stages.join(", ")}`);
	}
	if (lastRollout !== null)
		lines.push(
			`version ${lastRollout.version} was ${lastRollout.state === "completed" ? "rolled out" : "taken back"} at ${shortTime(lastRollout.at)} UTC: ${shown(lastRollout.reason)}`,
		);
	if (instances.length === 0) return `${lines.join("\n")}\nno instance takes it from here; \`policy: { source: nexus }\` makes it do so\n`;
	const rows = instances.map(({ instance, version, since, state }) => [
		instance,
		version === 0 ? "own file" : String(version),
		shortTime(since),
		state,
	]);
	const refusals = instances.flatMap(({ instance, rejected }) =>
		(rejected?.faults ?? []).map(({ place, message, hint }) => `${instance} refuses ${place}: ${message}${hint === "" ? "" : ` (${hint})`}`),
	);
	return `${lines.join("\n")}\n\n${tableText(["INSTANCE", "RUNS", "SINCE (UTC)", "STATE"], rows)}${refusals.map((line) => `${shown(line)}\n`).join("")}`;
}

/** As it stands in the file that was sent. */
function faultOf({ line = 1, column = 1, width = 1, path, message, hint = "" }: ProblemFault, file: string): PolicyFault {
	return { place: { file, line, column }, width, path, message, hint };
}

function isJson({ json }: PolicyFlags, io: CliIo): boolean {
	return json === true || !io.stdout.isTTY;
}
