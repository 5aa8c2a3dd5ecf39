import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { PAGES, pageUrl } from "../docs/generate.ts";

for (const page of PAGES) {
	test(`${page.file} says what the code says`, async () => {
		const written = await readFile(pageUrl(page), "utf8");
		assert.ok(written === page.render(), `${page.file} is stale: run \`node docs/generate.ts\` and commit what it writes`);
	});
}

test("the generated pages leave no key, type or reason without words", () => {
	for (const page of PAGES) {
		const text = page.render();
		assert.doesNotMatch(text, /undefined|\[object|\bnull\b/, page.file);
		assert.doesNotMatch(text, /^\| `\w+` \|.*\|\s*\|$/m, `${page.file} has a row without a description`);
	}
});
