/** Brings each fault about, and makes it good again. */
import { seededRng } from "../../../src/core/rng.ts";
import type { NexusHost, Worker } from "./house.ts";
import type { Operator } from "./operator.ts";
import { pause } from "./record.ts";
import type { Relay } from "./relay.ts";
import type { Fault } from "./schedule.ts";
import type { SmallDisk } from "./small-disk.ts";
import { tearTail } from "./tear.ts";

/** Something that Nexus stands on. */
export interface Footing {
	/** As a crash ends it. */
	kill(): Promise<void>;
	/** Resolves once it is ready. */
	start(): Promise<void>;
}

export interface Broker extends Footing {
	/** It keeps its connections and says nothing any more. */
	hang(): Promise<void>;
	goOn(): void;
}

export interface Victims {
	readonly nodes: readonly NexusHost[];
	/** Of the first node. */
	readonly dataDir: string;
	readonly disk: SmallDisk | undefined;
	readonly broker: Broker | undefined;
	/** That of the broker. */
	readonly brokerDisk: SmallDisk | undefined;
	/** Between Nexus and its broker. */
	readonly brokerLink: Relay | undefined;
	readonly state: Footing | undefined;
	readonly clientLinks: readonly Relay[];
	readonly consumers: { readonly hook: Worker; readonly pull: Worker };
	readonly operator: Operator;
}

/** Resolves once all is well again. */
export async function bringAbout(fault: Fault, victims: Victims): Promise<void> {
	const { nodes, dataDir, disk, broker, brokerDisk, brokerLink, state, clientLinks, consumers, operator } = victims;
	const [first] = nodes;
	const chosen = (share: number): NexusHost | undefined => nodes[Math.floor(share * nodes.length)];
	switch (fault.kind) {
		case "nexus-killed": {
			const killed = fault.all ? nodes : [chosen(fault.node)];
			await Promise.all(killed.map((node) => node?.kill()));
			await pause(fault.downMs);
			await Promise.all(killed.map((node) => node?.start()));
			return;
		}
		case "nexus-ended":
			await chosen(fault.node)?.stop();
			await pause(fault.downMs);
			return chosen(fault.node)?.start();
		case "nexus-stopped":
			chosen(fault.node)?.signal("SIGSTOP");
			await pause(fault.forMs);
			return chosen(fault.node)?.signal("SIGCONT");
		case "clock-jumped":
			return chosen(fault.node)?.shiftClock(fault.byMs);
		case "tail-torn":
			await first?.kill();
			tearTail(dataDir, fault.how, seededRng(fault.seed));
			return first?.start();
		case "disk-full":
			disk?.fill();
			await pause(fault.forMs);
			if (fault.kill) await first?.kill();
			disk?.free();
			return fault.kill ? first?.start() : undefined;
		case "consumer-killed": {
			const consumer = consumers[fault.which];
			await consumer.kill();
			await pause(fault.downMs);
			return consumer.start();
		}
		case "subscription-paused":
			await operator.pause(fault.which);
			await pause(fault.forMs);
			return operator.resume(fault.which);
		case "broker-killed":
			await Promise.all([broker?.kill(), brokerLink?.down()]);
			await pause(fault.downMs);
			await Promise.all([broker?.start(), brokerLink?.up()]);
			return;
		case "broker-stopped":
			await broker?.hang();
			await pause(fault.forMs);
			return broker?.goOn();
		case "broker-full":
			brokerDisk?.fill();
			await pause(fault.forMs);
			await Promise.all([broker?.kill(), brokerLink?.down()]);
			brokerDisk?.free();
			await Promise.all([broker?.start(), brokerLink?.up()]);
			return;
		case "broker-cut":
			return cut(brokerLink === undefined ? [] : [brokerLink], fault.heldMs);
		case "clients-cut":
			return cut(clientLinks, fault.heldMs);
		case "state-killed":
			await state?.kill();
			await pause(fault.downMs);
			return state?.start();
	}
}

async function cut(links: readonly Relay[], heldMs: number): Promise<void> {
	if (heldMs > 0) {
		for (const link of links) link.hold();
		await pause(heldMs);
	}
	for (const link of links) {
		link.cut();
		link.release();
	}
}
