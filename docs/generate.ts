/** Writes the pages that are made from the code: `node docs/generate.ts`. A test fails when one of them is stale. */
import { writeFile } from "node:fs/promises";
import { accessLogPage } from "./pages/access-log.ts";
import { enginesPage } from "./pages/engines.ts";
import { eventsPage } from "./pages/events.ts";
import { identityPage } from "./pages/identity.ts";
import { metricsPage } from "./pages/metrics.ts";
import { policyPage } from "./pages/policy.ts";
import { policySchemaPage } from "./pages/policy-schema.ts";
import { reasonsPage } from "./pages/reasons.ts";
import { statesPage } from "./pages/states.ts";

export interface Page {
	/** Relative to the top of the repository. */
	readonly file: string;
	readonly render: () => string;
}

export const PAGES: readonly Page[] = [
	policySchemaPage,
	policyPage,
	reasonsPage,
	eventsPage,
	identityPage,
	metricsPage,
	accessLogPage,
	statesPage,
	enginesPage,
];

export function pageUrl({ file }: Page): URL {
	return new URL(`../${file}`, import.meta.url);
}

if (import.meta.main) {
	for (const page of PAGES) {
		await writeFile(pageUrl(page), page.render());
		process.stdout.write(`${page.file}\n`);
	}
}
