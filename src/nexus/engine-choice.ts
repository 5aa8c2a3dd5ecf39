/** The log and the state that a configuration chooses, with secrets that are not read yet. */
import type { SecretSource } from "./secret-source.ts";

export interface NatsPlace {
	readonly servers: readonly string[];
	readonly replicas: number;
	readonly monitor?: string;
	readonly token?: SecretSource;
}

export type LogChoice =
	| { readonly backend: "embedded" }
	| { readonly backend: "memory" }
	| ({ readonly backend: "nats"; readonly stream: string } & NatsPlace)
	| { readonly backend: "redis"; readonly url: SecretSource; readonly prefix: string }
	| { readonly backend: "kafka"; readonly brokers: readonly string[]; readonly topic: string; readonly replicas: number }
	| { readonly backend: "rabbitmq"; readonly url: SecretSource; readonly queue: string };

export type StateChoice =
	/** `file` undefined: state.db in the data directory. */
	| { readonly engine: "sqlite"; readonly file?: string }
	| { readonly engine: "memory" }
	| { readonly engine: "postgres"; readonly url: SecretSource; readonly schema: string }
	| ({ readonly engine: "nats"; readonly name: string } & NatsPlace);
