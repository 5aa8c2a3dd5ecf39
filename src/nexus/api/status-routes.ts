/** The part of the API that says how Nexus is, and makes backups. */
import { type RouteConfig, z } from "@hono/zod-openapi";
import type { Logger } from "../../core/log.ts";
import { BACKUP_NAME, type Backups } from "../backup/backups.ts";
import type { Condition } from "../condition.ts";
import { nextPlace, pageOf, pageQuery } from "./pages.ts";
import { failure, json, noQuery, problemResponse, type Routes } from "./route.ts";

export interface StatusRoutesOptions {
	readonly condition: Condition;
	readonly backups: Backups;
	readonly logger: Logger;
}

export function addStatusRoutes(routes: Routes, { condition, backups, logger }: StatusRoutesOptions): void {
	routes.query(statusRoute, "read", noQuery, async () => json(JSON.stringify(await condition.status())));

	routes.body(startRoute, "operate", backupRequest, (_c, { name }, who) => {
		const started = backups.start(name);
		if (started.ok) {
			logger.info("a backup was begun", { backup: started.backup.name, by: who });
			return json(JSON.stringify(started.backup), 202);
		}
		const { failure: reason, detail } = started;
		return problemResponse({ status: reason === "unsupported" ? 501 : 409, title: "The backup was not begun.", detail, reason: `backup_${reason}` });
	});

	routes.query(listRoute, "operate", backupsQuery, (_c, query) => {
		const { page, next } = pageOf(backups.list(), ({ name }) => name, query);
		return json(JSON.stringify({ backups: page, next }));
	});

	routes.query(getRoute, "operate", noQuery, (c) => {
		const found = backups.get(c.req.param("name") ?? "");
		if (found !== undefined) return json(JSON.stringify(found));
		return problemResponse({ status: 404, title: "There is no backup of this name.", reason: "not_found" });
	});
}

const durability = z.enum(["memory", "os", "disk", "quorum"]);

const statusAnswer = z
	.looseObject({
		version: z.string(),
		node: z.string().openapi({ description: "Identity of this node, kept in its data directory." }),
		startedAt: z.string().openapi({ format: "date-time" }),
		log: z.looseObject({
			engine: z.string(),
			durability,
			basis: z.string().openapi({ description: "What the durability stands on." }),
			features: z.record(z.string(), z.boolean()),
			firstSequence: z.int(),
			lastSequence: z.int(),
			bytes: z.int(),
			pendingBytes: z.int().openapi({ description: "Not durable yet." }),
			failing: z.boolean(),
		}),
		state: z.looseObject({ engine: z.string(), durability, shared: z.boolean(), failing: z.boolean() }),
		disk: z.object({ freeBytes: z.int(), totalBytes: z.int() }).nullable().openapi({ description: "Of the data directory." }),
		subscriptions: z
			.looseObject({
				count: z.int(),
				lag: z.int().openapi({ description: "Events that the one furthest behind has before it." }),
				oldestAgeMs: z.number().openapi({ description: "Of the oldest open event." }),
			})
			.openapi({ description: "Of all nodes; of the others as they have told it last, a lease ago at most." }),
		shared: z.boolean().openapi({ description: "Whether other nodes may use the same log and state." }),
		duties: z.record(z.string(), z.string().nullable()).openapi({ description: "Who does what one node does at a time." }),
		nodes: z.array(
			z.looseObject({
				id: z.string(),
				url: z.string(),
				slices: z.array(z.int()).openapi({ description: "Parts of the subscriptions that it dispatches, as it has told it last." }),
			}),
		),
		trouble: z.record(z.string(), z.string()).optional(),
	})
	.openapi("Status");

const backupRequest = z
	.strictObject({ name: z.string().regex(BACKUP_NAME, "is no name: letters, digits, `.`, `_` and `-`").optional() })
	.openapi("BackupRequest");

const backup = z
	.looseObject({
		name: z.string(),
		dir: z.string().openapi({ description: "On the machine of Nexus." }),
		state: z
			.enum(["running", "done", "failed", "unknown"])
			.openapi({ description: "`unknown`: made by an earlier process; `nexus log verify` says." }),
		bytes: z.int(),
		totalBytes: z.int(),
		firstSequence: z.int().optional(),
		lastSequence: z.int().optional(),
		missing: z.string().optional().openapi({ description: "What is not in it, and why." }),
		error: z.string().optional(),
	})
	.openapi("Backup");

const backupsQuery = pageQuery("Backups");
const backupContent = { "application/json": { schema: backup } };

const statusRoute: RouteConfig = {
	method: "get",
	path: "/v1/status",
	summary: "How this Nexus is",
	description: "Engines, what they promise, lag, disk, and the nodes that share log and state.",
	responses: { 200: { description: "The status.", content: { "application/json": { schema: statusAnswer } } } },
};

const startRoute: RouteConfig = {
	method: "post",
	path: "/v1/log/backups",
	summary: "Back up log and state while they run",
	description:
		"The state where it is on SQLite, with tokens and deny list; then the log, so that no position is ahead of it. Into a directory of that name in the directory of backups, on the machine of Nexus; it appears once it is whole.",
	request: { body: { required: true, content: { "application/json": { schema: backupRequest } } } },
	responses: {
		202: { description: "It has begun.", content: backupContent },
		400: failure("The name is not valid."),
		409: failure("One is being made, or there is one of this name."),
		413: failure("The body is too large."),
		415: failure("The body is encoded."),
		501: failure("This log has a backup of its own."),
	},
};

const listRoute: RouteConfig = {
	method: "get",
	path: "/v1/log/backups",
	summary: "List the backups",
	request: { query: backupsQuery },
	responses: {
		200: { description: "By name.", content: { "application/json": { schema: z.object({ backups: z.array(backup), next: nextPlace }) } } },
		400: failure("The query is not valid."),
	},
};

const getRoute: RouteConfig = {
	method: "get",
	path: "/v1/log/backups/{name}",
	summary: "How far a backup is",
	request: { params: z.object({ name: z.string().openapi({ param: { name: "name", in: "path" } }) }) },
	responses: { 200: { description: "The backup.", content: backupContent }, 404: failure("There is none of this name.") },
};
