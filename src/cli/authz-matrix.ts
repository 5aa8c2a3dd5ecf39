/** `nexus authz matrix`: who may call whom, over the policies of several services. */
import { authorizationMatrix, type Matrix, type MatrixService } from "../identity/authorization/matrix.ts";
import { matrixText } from "../identity/authorization/matrix-text.ts";
import { formatFaults } from "../policy/load.ts";
import { loadPolicyFile } from "../policy/load-file.ts";
import { placeText } from "../policy/place-text.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { printable, safeJson } from "./event-line.ts";
import type { CliIo } from "./io.ts";

export interface AuthzMatrixOptions {
	/** Policy files, one for each service. */
	readonly files: readonly string[];
	/** JSON in a terminal as well; a pipe always gets that. */
	readonly json?: boolean;
}

/** Resolves with 0, or with 1 where a policy has faults, or two are of one service: half a table would mislead. */
export async function runAuthzMatrix({ files, json }: AuthzMatrixOptions, io: CliIo): Promise<number> {
	const snapshots: Snapshot[] = [];
	let faulty = false;
	for (const file of files) {
		const { text, result } = await loadPolicyFile(file, process.env, 1);
		if (result.ok) snapshots.push(result.snapshot);
		else {
			faulty = true;
			io.stderr.write(`${formatFaults(result.faults, text, { color: io.colour })}\n`);
		}
	}
	for (const twice of servedTwice(snapshots)) {
		faulty = true;
		io.stderr.write(`nexus authz matrix: ${printable(twice)}\n`);
	}
	if (faulty) return 1;
	const matrix = matrixOf(snapshots);
	io.stdout.write(json === true || !io.stdout.isTTY ? `${safeJson(matrixJson(matrix))}\n` : printableLines(matrixText(matrix)));
	return 0;
}

/** A service without `inbound` is called by nobody: it has a row, and no column. */
function matrixOf(snapshots: readonly Snapshot[]): Matrix {
	const callers = snapshots.map(({ service, trustDomain }) => `spiffe://${trustDomain}/${service}`);
	const services = snapshots.flatMap(({ service, trustDomain, inbound }): MatrixService[] =>
		inbound === undefined ? [] : [{ service, trustDomain, authorization: inbound.authorization, strict: inbound.tls.mode === "strict" }],
	);
	return authorizationMatrix(services, callers);
}

function servedTwice(snapshots: readonly Snapshot[]): string[] {
	const byId = Map.groupBy(snapshots, ({ service, trustDomain }) => `${service} of ${trustDomain}`);
	return [...byId]
		.filter(([, same]) => same.length > 1)
		.map(([id, same]) => `${same.map(({ file }) => file).join(" and ")} are both policies of ${id}`);
}

/** A cell each, in the order of the table. */
function matrixJson({ callers, services, cells }: Matrix): Record<string, unknown> {
	return {
		services: services.map(({ service, trustDomain, authorization, strict }) => ({
			service,
			trustDomain,
			/** Null: it has no rules. */
			default: authorization?.default ?? null,
			strict,
		})),
		cells: callers.flatMap((caller, row) =>
			services.map(({ service }, column) => {
				const cell = cells[row]?.[column];
				return {
					caller: caller === "" ? "unauthenticated" : caller,
					service,
					access: cell?.access,
					dryRunAccess: cell?.dryRunAccess,
					rules: cell?.rules.map(({ name, action, dryRun, place }) => ({ name, action, dryRun, place: placeText(place) })),
				};
			}),
		),
	};
}

/** Its lines stay lines. */
function printableLines(text: string): string {
	return text.split("\n").map(printable).join("\n");
}
