import assert from "node:assert/strict";
import { test } from "node:test";
import { type Rng, seededRng } from "../../../src/core/rng.ts";
import { Authorizer } from "../../../src/identity/authorization/authorizer.ts";
import { normalTarget, pathOf } from "../../../src/policy/path-normal.ts";
import { policy, type RuleSpec, request } from "./support.ts";

// Servers as they are met, each with its own order of decoding, splitting and stripping. They share nothing with what is tested.

/** Lenient UTF-8, as old decoders have it: bits are put together, whatever is overlong. */
function lenient(path: string): string {
	const bytes = [
		...Buffer.from(
			path.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
			"latin1",
		),
	];
	let out = "";
	for (let i = 0; i < bytes.length; i++) {
		const lead = bytes[i] as number;
		const more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
		let code = more === 0 ? lead : lead & (0x3f >> more);
		const rest = bytes.slice(i + 1, i + 1 + more);
		if (rest.length === more && rest.every((byte) => (byte & 0xc0) === 0x80)) {
			for (const byte of rest) code = (code << 6) | (byte & 0x3f);
			i += more;
		} else code = lead;
		out += String.fromCodePoint(Math.min(code, 0x10ffff));
	}
	return out;
}

function strict(path: string): string {
	return Buffer.from(
		path.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
		"latin1",
	).toString();
}

function segments(path: string): string[] {
	const kept: string[] = [];
	for (const segment of path.split(/[/\\]/)) {
		if (segment === "..") kept.pop();
		else if (segment !== "" && segment !== ".") kept.push(segment);
	}
	return kept;
}

const strip = (path: string) => path.replace(/;[^/]*/g, "");

const SERVERS: Readonly<Record<string, (path: string) => string[]>> = {
	"splits, then decodes": (path) => segments(path).map(strict),
	"decodes, then splits": (path) => segments(strict(path)),
	"decodes leniently, then splits": (path) => segments(lenient(path)),
	"strips, decodes, splits": (path) => segments(strict(strip(path))),
	"strips, splits, decodes": (path) => segments(strip(path)).map(strict),
	"decodes, strips, splits": (path) => segments(strip(strict(path))),
	"decodes leniently, strips, splits": (path) => segments(strip(lenient(path))),
	"splits, decodes, strips": (path) => segments(path).map((segment) => strip(strict(segment))),
};

const PIECES =
	"/ / // . .. %2e %2E%2e %2f %5C \\ ; ;x=1 ;a/b %3b %3Bx %c0%af %c0%ae %e0%80%af %c1%a1dmin %f0%80%80%af %25 a admin admin %61dmin adm%69n Admin public public x ~ %21 !".split(
		" ",
	);

function hostile(rng: Rng): string {
	let target = "/";
	for (let n = 1 + Math.floor(rng() * 9); n > 0; n--) target += PIECES[Math.floor(rng() * PIECES.length)];
	return target;
}

function attacks(rules: readonly RuleSpec[], isForbidden: (segments: readonly string[]) => boolean): { allowed: number; averted: number } {
	const caller = new Authorizer(policy(rules), "mesh.local").meet("");
	const rng = seededRng(2026);
	const seen = { allowed: 0, averted: 0 };
	for (let i = 0; i < 200_000; i++) {
		const target = hostile(rng);
		const normal = normalTarget(target);
		if (typeof normal !== "string") continue;
		const path = pathOf(normal);
		const { allowed } = caller.decide(request("GET", path));
		for (const [server, read] of Object.entries(SERVERS)) {
			const reached = read(path);
			if (!isForbidden(reached)) continue;
			assert.equal(allowed, false, `${target} -> ${path}: a server that ${server} finds /${reached.join("/")}`);
			seen.averted++;
		}
		if (allowed) seen.allowed++;
	}
	return seen;
}

test("200,000 hostile paths: what is refused below /admin is reached on no kind of server", () => {
	const seen = attacks([{ name: "no-admin", action: "deny", paths: ["/admin/**"] }], ([first]) => first === "admin");
	assert.ok(seen.allowed > 10_000 && seen.averted > 10_000, JSON.stringify(seen));
});

test("200,000 hostile paths: where only /public is allowed, nothing else is reached on any kind of server", () => {
	const seen = attacks([{ name: "public", paths: ["/public/**"] }], ([first]) => first !== "public");
	assert.ok(seen.allowed > 1_000 && seen.averted > 10_000, JSON.stringify(seen));
});

test("a field spelt with _ gets nobody in, and nobody past a deny", () => {
	const allowed = (rules: readonly RuleSpec[], headers: Record<string, string | readonly string[]>, written?: "allow") =>
		new Authorizer(policy(rules, written), "mesh.local").meet("").decide(request("GET", "/", headers)).allowed;
	const team: RuleSpec[] = [{ name: "team", headers: { "x-team": "blue" } }];
	assert.deepEqual(
		[{ "x-team": "blue" }, { "x-team": "blue", x_team: "blue" }, { "x-team": "blue", x_team: ["blue", "red"] }, { x_team: "blue" }].map((headers) =>
			allowed(team, headers),
		),
		[true, true, false, false],
	);
	for (const [kind, fields] of [
		["present", { x_team: "a" }],
		["absent", {}],
	] as const) {
		const headers = { "x-team": { kind } };
		assert.equal(allowed([{ name: "no", action: "deny", headers }], fields, "allow"), false, `deny ${kind}`);
	}
	assert.equal(allowed([{ name: "no", action: "deny", headers: { "x-team": { kind: "absent" } } }], { x_team: "a" }, "allow"), false);
	assert.equal(allowed([{ name: "yes", headers: { "x-team": { kind: "present" } } }], { x_team: "a" }), false);
	assert.equal(allowed([{ name: "yes", headers: { "x-team": { kind: "absent" } } }], { x_team: "a" }), false);
});

test("a method in other letters gets nobody past a deny, and nobody in", () => {
	const decided = (rules: readonly RuleSpec[], method: string) => new Authorizer(policy(rules), "mesh.local").meet("").decide(request(method, "/"));
	for (const method of ["DELETE", "delete", "Delete"]) {
		assert.equal(decided([{ name: "no-deletes", action: "deny", methods: ["DELETE"] }], method).allowed, false, method);
		assert.equal(decided([{ name: "deletes", action: "audit", methods: ["DELETE"] }], method).audited.length, 1, method);
		assert.equal(decided([{ name: "deletes", methods: ["DELETE"] }], method).allowed, method === "DELETE", method);
	}
});
