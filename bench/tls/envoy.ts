/** Envoy at either end of a hop with mutual TLS, one worker; between two of them HTTP/1.1 or HTTP/2. */
import { writeFile } from "node:fs/promises";
import { envoyCommand } from "../peers/envoy.ts";
import type { Launch } from "../peers/peer.ts";
import { CALLEE, type Identity } from "./certificates.ts";
import type { EndPlan } from "./ends.ts";

export type Between = "http/1.1" | "h2";

/** TLS in, plain text out. */
export function envoyCallee(program: string, plan: EndPlan, between: Between): Promise<Launch> {
	const { callee, ca } = plan.certificates;
	const socket = `
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
${commonContext(callee, ca, between)}`;
	return launch(program, "callee", plan, socket, "", "http/1.1");
}

/** Plain text in, TLS out. */
export function envoyCaller(program: string, plan: EndPlan, between: Between): Promise<Launch> {
	const { caller, ca } = plan.certificates;
	const socket = `
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: ${CALLEE}
${commonContext(caller, ca, between)}`;
	return launch(program, "caller", plan, "", socket, between);
}

function commonContext({ cert, key }: Identity, ca: string, between: Between): string {
	return `          common_tls_context:
            alpn_protocols: [${between}]
            tls_params: { tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }
            tls_certificates: [ { certificate_chain: { filename: ${cert} }, private_key: { filename: ${key} } } ]
            validation_context: { trusted_ca: { filename: ${ca} } }`;
}

async function launch(
	program: string,
	end: string,
	{ workspace, port, nextPort }: EndPlan,
	downstream: string,
	upstream: string,
	protocol: Between,
): Promise<Launch> {
	const config = workspace.file(`envoy-${end}.yaml`);
	const http2 = `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }`;
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
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - { name: all, domains: ["*"], routes: [ { match: { prefix: "/" }, route: { cluster: next } } ] }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }${downstream}
  clusters:
  - name: next
    type: STATIC${protocol === "h2" ? http2 : ""}
    load_assignment:
      cluster_name: next
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${nextPort} } } }${upstream}
`,
	);
	return envoyCommand(program, config);
}
