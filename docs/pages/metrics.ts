/** docs/metrics.md: every metric, made from the catalogue. */
import { METRICS, type MetricSpec } from "../../src/metrics/catalogue.ts";
import { LATENCY_BOUNDS_S } from "../../src/metrics/histogram.ts";
import type { Page } from "../generate.ts";

const HEAD = `# Metrics

<!-- Made by \`node docs/generate.ts\` from src/metrics/catalogue.ts: change it there. -->

\`GET /metrics\` answers in the Prometheus text format 0.0.4. Labels take their values from the policy, from discovery or from a fixed
list, never from a request, so the number of series is bounded. The series of a route appear with its first request.

The hot path only adds to plain numbers; everything else happens when somebody scrapes.

| metric | type | labels | meaning |
|---|---|---|---|
`;

export const metricsPage: Page = {
	file: "docs/metrics.md",
	render: () =>
		HEAD +
		Object.entries<MetricSpec>(METRICS)
			.map(([name, { type, labels, help }]) => `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(", ")} | ${help} |\n`)
			.join("") +
		`\nBuckets of the histograms, in seconds: ${LATENCY_BOUNDS_S.join(", ")}, +Inf.\n`,
};
