/** Brings each fault about, and makes it good again. */
import { seededRng } from "../../../src/core/rng.ts";
import type { Server } from "../log/servers.ts";
import type { NexusHost, Worker } from "./house.ts";
import { pause } from "./record.ts";
import type { Fault } from "./schedule.ts";
import type { SmallDisk } from "./small-disk.ts";
import { tearTail } from "./tear.ts";

export interface Victims {
	readonly nexus: NexusHost;
	readonly dataDir: string;
	readonly disk: SmallDisk | undefined;
	readonly broker: Server | undefined;
	readonly consumers: { readonly hook: Worker; readonly pull: Worker };
}

/** Resolves once all is well again. */
export async function bringAbout(fault: Fault, { nexus, dataDir, disk, broker, consumers }: Victims): Promise<void> {
	switch (fault.kind) {
		case "nexus-killed":
			await nexus.kill();
			await pause(fault.downMs);
			return nexus.start();
		case "nexus-stopped":
			nexus.signal("SIGSTOP");
			await pause(fault.forMs);
			return nexus.signal("SIGCONT");
		case "tail-torn":
			await nexus.kill();
			tearTail(dataDir, fault.how, seededRng(fault.seed));
			return nexus.start();
		case "disk-full":
			disk?.fill();
			await pause(fault.forMs);
			if (fault.kill) await nexus.kill();
			disk?.free();
			return fault.kill ? nexus.start() : undefined;
		case "consumer-killed": {
			const consumer = consumers[fault.which];
			await consumer.kill();
			await pause(fault.downMs);
			return consumer.start();
		}
		case "broker-killed":
			await Promise.all([broker?.kill(), fault.withNexus && nexus.kill()]);
			await pause(fault.downMs);
			await broker?.start();
			return fault.withNexus ? nexus.start() : undefined;
		case "broker-stopped":
			await broker?.hang();
			await pause(fault.forMs);
			return broker?.goOn();
	}
}
