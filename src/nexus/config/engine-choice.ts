/** The log and the state that a configuration chooses, with secrets that are not read yet. */
import type { EngineTls } from "../engines/engine-tls.ts";
import type { SecretSource } from "./secret-source.ts";

/** By whom NATS knows its client. */
export type NatsLogin =
	| { readonly kind: "token"; readonly token: SecretSource }
	| { readonly kind: "password"; readonly user: string; readonly password: SecretSource }
	/** The seed of a user's nkey. */
	| { readonly kind: "nkey"; readonly seed: SecretSource }
	/** A file of credentials as `nsc` makes it: a JWT and the seed. */
	| { readonly kind: "creds"; readonly creds: SecretSource };

export const SASL_MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] as const;

export interface KafkaLogin {
	readonly mechanism: (typeof SASL_MECHANISMS)[number];
	readonly user: string;
	readonly password: SecretSource;
}

export interface NatsPlace {
	readonly servers: readonly string[];
	readonly replicas: number;
	readonly monitor?: string;
	readonly login?: NatsLogin;
	readonly tls?: EngineTls;
}

export type LogChoice =
	| { readonly backend: "embedded" }
	| { readonly backend: "memory" }
	| ({ readonly backend: "nats"; readonly stream: string } & NatsPlace)
	| { readonly backend: "redis"; readonly url: SecretSource; readonly prefix: string; readonly tls?: EngineTls }
	| {
			readonly backend: "kafka";
			readonly brokers: readonly string[];
			readonly topic: string;
			readonly replicas: number;
			readonly login?: KafkaLogin;
			readonly tls?: EngineTls;
	  }
	| { readonly backend: "rabbitmq"; readonly url: SecretSource; readonly queue: string; readonly tls?: EngineTls };

export type StateChoice =
	/** `file` undefined: state.db in the data directory. */
	| { readonly engine: "sqlite"; readonly file?: string }
	| { readonly engine: "memory" }
	| { readonly engine: "postgres"; readonly url: SecretSource; readonly schema: string; readonly tls?: EngineTls }
	| ({ readonly engine: "nats"; readonly name: string } & NatsPlace);
