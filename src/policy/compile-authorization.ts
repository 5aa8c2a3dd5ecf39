/** Authorization: typed configuration -> what the data plane runs. Nothing can fail here any more. */
import type { AuthorizationPolicy } from "./authorization-policy.ts";
import { FrozenMap } from "./frozen-map.ts";
import type { Places } from "./places.ts";
import type { AuthorizationConfig } from "./schema-authorization.ts";
import type { Path } from "./tree.ts";

export function compileAuthorization(config: AuthorizationConfig | undefined, path: Path, places: Places): AuthorizationPolicy | undefined {
	if (config === undefined) return undefined;
	const { rules } = config;
	const allows = rules.filter(({ action }) => action === "allow");
	return {
		place: places.of(path),
		default: config.default ?? (allows.some(({ dryRun }) => !dryRun) ? "deny" : "allow"),
		dryRunDefault: config.default ?? (allows.length === 0 ? "allow" : "deny"),
		rules: rules.map(({ name, action, dryRun, from, methods, paths, headers, ports }, i) => ({
			place: places.of([...path, "rules", i]),
			name,
			action,
			dryRun,
			from: from ?? [],
			methods: methods ?? [],
			paths: paths ?? [],
			headers: new FrozenMap(headers ?? []),
			ports: ports ?? [],
		})),
	};
}
