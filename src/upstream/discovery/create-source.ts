/** From a policy's word for where endpoints are to the source that finds them; the one place that knows them all. */
import { assertNever } from "../../core/errors.ts";
import type { EndpointsPolicy } from "../../policy/snapshot.ts";
import type { EndpointSource } from "../endpoint-source.ts";
import { DnsSource, type DnsSourceDeps } from "./dns.ts";
import { FileSource, type FileSourceDeps } from "./file.ts";
import { RegistrySource, type RegistrySourceDeps } from "./registry.ts";
import { StaticSource } from "./static.ts";

export type EndpointSourceDeps = DnsSourceDeps & FileSourceDeps & RegistrySourceDeps;

export function createEndpointSource(policy: EndpointsPolicy, deps: EndpointSourceDeps): EndpointSource {
	switch (policy.kind) {
		case "static":
			return new StaticSource(policy.endpoints);
		case "dns":
			return new DnsSource(policy, deps);
		case "file":
			return new FileSource(policy.path, deps);
		case "registry":
			return new RegistrySource(policy.service, deps);
		default:
			return assertNever(policy);
	}
}
