/** Kafka as a contestant: one KRaft node, one partition; what gathers while a request is under way leaves in the next one. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePorts, type Workspace } from "../processes.ts";
import { waitUntil } from "../wait.ts";
import type { Running } from "./contestants.ts";
import { Message } from "./publish-events.ts";
import type { OpenSender } from "./publish-turn.ts";
import type { OpenReceiver } from "./receivers.ts";
import { accepts, directory } from "./server-support.ts";

/** A folder with the jars of Kafka (kafka_2.13 and slf4j-simple with all that they need). */
export const KAFKA_LIBS = process.env.NEXUS_TEST_KAFKA_LIBS;
const TOPIC = "events";
/** The broker takes 1 MiB at a time (`message.max.bytes`). */
const REQUEST_EVENTS_MAX = 1_000;
/** So long a fetch waits for something; it is answered at once where there is. */
const FETCH_WAIT_MS = 500;

export async function startKafka(workspace: Workspace, core: number): Promise<Running> {
	const [port = 0, controller = 0] = await freePorts(2);
	const dir = directory(workspace, "kafka");
	const file = join(dir, "server.properties");
	const settings = {
		"process.roles": "broker,controller",
		"node.id": 1,
		"controller.quorum.voters": `1@127.0.0.1:${controller}`,
		listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
		"advertised.listeners": `PLAINTEXT://127.0.0.1:${port}`,
		"controller.listener.names": "CONTROLLER",
		"inter.broker.listener.name": "PLAINTEXT",
		"listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"log.dirs": join(dir, "data"),
		"offsets.topic.num.partitions": 1,
		"offsets.topic.replication.factor": 1,
		"transaction.state.log.num.partitions": 1,
		"transaction.state.log.replication.factor": 1,
		"transaction.state.log.min.isr": 1,
		"share.coordinator.state.topic.num.partitions": 1,
		"share.coordinator.state.topic.replication.factor": 1,
		"share.coordinator.state.topic.min.isr": 1,
		"group.initial.rebalance.delay.ms": 0,
	};
	writeFileSync(
		file,
		Object.entries(settings)
			.map(([name, value]) => `${name}=${value}\n`)
			.join(""),
	);
	const java = ["-Xmx1g", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", `${KAFKA_LIBS}/*`];
	const cluster = randomBytes(16).toString("base64url");
	// In one word: one in 64 begins with a `-`.
	await promisify(execFile)("java", [...java, "kafka.tools.StorageTool", "format", `--cluster-id=${cluster}`, "-c", file]);
	const child = await workspace.start("kafka", core, { command: "java", args: [...java, "kafka.Kafka", file] });
	await waitUntil(() => accepts(port), child);
	await createTopic(port);
	const open = overKafka(port);
	return { child, pid: child.pid, open: { request: open, stream: open }, receive: { group: fromKafka(port) } };
}

async function createTopic(port: number): Promise<void> {
	const { Admin } = await import("@platformatic/kafka");
	const admin = new Admin({ clientId: "bench-admin", bootstrapBrokers: [`127.0.0.1:${port}`] });
	await admin.createTopics({ topics: [TOPIC], partitions: 1, replicas: 1 });
	await admin.close();
}

function overKafka(port: number): OpenSender {
	return async ({ eventsPerMessage }, { answered, failed }) => {
		const { Producer } = await import("@platformatic/kafka");
		const producer = new Producer<Buffer, Buffer, Buffer, Buffer>({
			clientId: "bench-producer",
			bootstrapBrokers: [`127.0.0.1:${port}`],
			acks: -1,
			idempotent: true,
		});
		const message = new Message(1, false, (json) => json);
		let waiting = 0;
		let isBusy = false;
		// One request at a time, with all that has gathered: the producer would send any number at once, and the broker takes no more than five in order.
		const sendSoon = (): void => {
			if (isBusy || waiting === 0) return;
			isBusy = true;
			setImmediate(flush);
		};
		const flush = (): void => {
			const sent = Math.min(waiting, Math.floor(REQUEST_EVENTS_MAX / eventsPerMessage));
			waiting -= sent;
			const messages = Array.from({ length: sent * eventsPerMessage }, () => ({ topic: TOPIC, partition: 0, value: message.next() }));
			producer.send({ messages }).then(() => {
				isBusy = false;
				for (let i = 0; i < sent; i++) answered(eventsPerMessage);
				sendSoon();
			}, failed);
		};
		return {
			send() {
				waiting++;
				sendSoon();
			},
			close: () => void producer.close().catch(() => {}),
		};
	};
}

function fromKafka(port: number): OpenReceiver {
	return async ({ received, failed }) => {
		const { Consumer } = await import("@platformatic/kafka");
		const consumer = new Consumer<Buffer, Buffer, Buffer, Buffer>({
			clientId: "bench-consumer",
			groupId: "bench",
			bootstrapBrokers: [`127.0.0.1:${port}`],
		});
		const stream = await consumer.consume({ topics: [TOPIC], mode: "earliest", autocommit: true, maxWaitTime: FETCH_WAIT_MS });
		stream.on("data", ({ value }) => received(value));
		stream.on("error", failed);
		return { close: () => void consumer.close(true).catch(() => {}) };
	};
}
