/** Writes docs/metrics.md from the catalogue. */
import { METRICS, type MetricSpec } from "./catalogue.ts";
import { LATENCY_BOUNDS_S } from "./histogram.ts";

/** Markdown; ends with a newline. A test holds the file to it. */
export function renderMetricsPage(): string {
	const rows = Object.entries<MetricSpec>(METRICS).map(
		([name, spec]) =>
			`| \`${name}\` | ${spec.type} | ${spec.labels.map((label) => `\`${label}\``).join(", ")} | ${spec.help.replaceAll("|", "\\|")} |`,
	);
	return [
		"# Metrics",
		"",
		"Made from `src/metrics/catalogue.ts` by `node docs/generate.ts`; do not edit.",
		"",
		"`GET /metrics` of the admin API answers in the Prometheus text format 0.0.4. Labels take their values from the policy,",
		"from discovery or from a fixed list, never from a request. A series appears with the first request that it concerns.",
		"",
		"| metric | type | labels | meaning |",
		"|---|---|---|---|",
		...rows,
		"",
		`Buckets of the histograms, in seconds: ${LATENCY_BOUNDS_S.join(", ")}, +Inf.`,
		"",
	].join("\n");
}
