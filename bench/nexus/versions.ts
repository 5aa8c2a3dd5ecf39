/** Versions of the brokers and databases that are installed, for the report. */
import { readdirSync } from "node:fs";
import { versionOf } from "../machine.ts";
import { KAFKA_LIBS } from "./kafka.ts";

export const RABBITMQ_FOLDER = "/usr/lib/rabbitmq";

export const redisVersion = (): string => versionOf("redis-server", ["--version"], / v=(\S+)/);
export const natsVersion = (program: string): string => versionOf(program, ["--version"], /v(\d\S*)/);
export const rabbitmqVersion = (): string => named(`${RABBITMQ_FOLDER}/lib`, /^rabbitmq_server-(.+)$/);
export const kafkaVersion = (): string => named(KAFKA_LIBS ?? "", /^kafka_[\d.]+-(.+)\.jar$/);
export const postgresVersion = (): string => versionOf("psql", ["--version"], / (\d\S*)/);

/** Of what lies in `folder`, by a name that says it. */
function named(folder: string, pattern: RegExp): string {
	const found = readdirSync(folder).map((name) => pattern.exec(name)?.[1]);
	return found.find((version) => version !== undefined) ?? "unknown";
}
