/** `nexus services`: the instances that have registered at Nexus. */
import type { Service } from "../client/nexus-client.ts";
import type { CliIo } from "./io.ts";
import { type NexusFlags, withNexus } from "./nexus-api.ts";
import { shortTime, tableText } from "./table.ts";

/** All services, or one. */
export function runServices(service: string | undefined, flags: NexusFlags & { readonly json?: boolean }, io: CliIo): Promise<number> {
	return withNexus("services", flags, io, async ({ client }) => {
		const services = service === undefined ? await client.services.list() : listOf(await client.services.get(service));
		if (flags.json === true || !io.stdout.isTTY) io.stdout.write(`${JSON.stringify({ services })}\n`);
		else if (services.length === 0) io.stdout.write("no instance is registered; `nexus: { url: ..., register: {} }` makes a sidecar do so\n");
		else {
			const rows = services.flatMap(({ service: name, instances }) =>
				instances.map(({ instance, address, zone, health, since, silentMs, policyVersion }) => [
					name,
					address,
					health,
					zone ?? "-",
					policyVersion === null ? "-" : String(policyVersion),
					shortTime(since),
					`${Math.round(silentMs / 1000)} s ago`,
					instance,
				]),
			);
			io.stdout.write(tableText(["SERVICE", "ADDRESS", "HEALTH", "ZONE", "POLICY", "SINCE (UTC)", "HEARD", "INSTANCE"], rows));
		}
		return 0;
	});
}

function listOf(service: Service | undefined): readonly Service[] {
	return service === undefined ? [] : [service];
}
