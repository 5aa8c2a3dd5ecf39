/** The authority's part of the API: certificates, the trust bundle, rotation, revocation, state. */
import type { RouteConfig } from "@hono/zod-openapi";
import type { Logger } from "../../core/log.ts";
import { JOIN_TOKEN_PREFIX, readJoinToken } from "../../identity/join-token.ts";
import type { Problem } from "../../server/problem.ts";
import { type Access, bearerOf, unauthenticated } from "../access/access.ts";
import type { Applicant, Authority, NotGranted } from "../authority/authority.ts";
import type { Poll } from "../authority/bundle-polls.ts";
import type { Denial, DenialRefused } from "../authority/denials.ts";
import type { RotationRefused } from "../authority/rotations.ts";
import type { NotKept } from "../authority/state-file.ts";
import {
	authorityAnswer,
	bundleAnswer,
	bundleQuery,
	certificateAnswer,
	certificateRequest,
	denialRequest,
	rotateRequest,
	versionAnswer,
} from "./identity-schemas.ts";
import { failure, json, type NexusContext, noQuery, problemResponse, type Routes } from "./route.ts";

export interface AuthorityRoutesOptions {
	/** Undefined where none is configured. */
	readonly authority: Authority | undefined;
	readonly access: Access;
	readonly logger: Logger;
	readonly isDraining: () => boolean;
}

const content = (schema: RouteSchema) => ({ "application/json": { schema } });
type RouteSchema = typeof bundleAnswer | typeof certificateAnswer | typeof authorityAnswer | typeof versionAnswer;

export function addAuthorityRoutes(routes: Routes, { authority, access, logger, isDraining }: AuthorityRoutesOptions): void {
	// Who may have one is asked here, as a join token is no role.
	routes.body(issueRoute, "none", certificateRequest, async (c, { request }) => {
		if (authority === undefined) return problemResponse(NO_AUTHORITY);
		const applicant = applicantOf(c, access);
		if ("problem" in applicant) return problemResponse(applicant.problem);
		const { req, res } = c.env;
		const outcome = await authority.issue(Buffer.from(request, "base64"), applicant, req.remoteAddress);
		if (!outcome.ok) return problemResponse(notGranted(outcome), outcome.fault === "overloaded" ? { "retry-after": "5" } : {});
		// The next request is to come with the new certificate.
		if (applicant.kind === "peer") res.endConnection();
		const { certificate, bundle } = outcome;
		return json(JSON.stringify({ certificate, bundle }), 201, NO_STORE);
	});

	routes.query(bundleRoute, "member", bundleQuery, (c, { after, wait = 0 }) => {
		if (authority === undefined) return problemResponse(NO_AUTHORITY);
		if (isDraining()) return problemResponse(DRAINING);
		const { req, res } = c.env;
		const version = Number(after);
		const { peer } = req.caller;
		if (peer !== undefined) authority.seen(peer, req.remoteAddress, version);
		const now = authority.trust.now;
		const isCalled = peer !== undefined && authority.callAgain(peer);
		if (isCalled) res.endConnection();
		if (now.bundle.version > version) return json(now.text, 200, NO_STORE);
		if (wait === 0 || isCalled || c.req.method === "HEAD") return new Response(null, { status: 204 });
		const poll: Poll = {
			after: version,
			answer(outcome) {
				if (outcome === "over") res.writeHead(204).end();
				else res.writeHead(200, { ...NO_STORE, "content-type": "application/json" }).end(authority.trust.now.text);
			},
		};
		if (!authority.polls.add(poll, wait)) return problemResponse(TOO_MANY_POLLS, { "retry-after": "10" });
		res.onClose(() => authority.polls.remove(poll));
		res.onClientEnd(() => authority.polls.end(poll));
		c.env.isTaken = true;
		return new Response(null);
	});

	routes.query(stateRoute, "read", noQuery, () =>
		authority === undefined ? problemResponse(NO_AUTHORITY) : json(JSON.stringify(authority.status())),
	);

	routes.body(rotateRoute, "operate", rotateRequest, async (_c, { what }, who) => {
		if (authority === undefined) return problemResponse(NO_AUTHORITY);
		const fault = await authority.rotate(what);
		if (fault !== undefined) return problemResponse(conflict(fault));
		logger.info("a rotation was asked for", { what, by: who });
		return json(JSON.stringify(authority.status()), 202);
	});

	for (const [route, act] of [
		[denyRoute, "deny"],
		[allowRoute, "allow"],
	] as const) {
		routes.body(route, "operate", denialRequest, async (_c, given, who) => {
			if (authority === undefined) return problemResponse(NO_AUTHORITY);
			const denial: Denial = "identity" in given ? { identity: fullIdentity(given.identity, authority.trustDomain) } : given;
			const fault = await authority[act](denial);
			if (fault !== undefined) return problemResponse(conflict(fault));
			logger.info(act === "deny" ? "put on the deny list" : "taken off the deny list", { ...denial, by: who });
			return json(JSON.stringify({ bundleVersion: authority.trust.now.bundle.version }));
		});
	}
}

export const NO_AUTHORITY: Problem = Object.freeze({
	status: 503,
	title: "This Nexus is no certificate authority.",
	reason: "no_authority",
	hint: "Configure `authority: { dir: ... }`; `nexus ca init` makes one.",
});
const DRAINING: Problem = Object.freeze({ status: 503, title: "Nexus is shutting down.", reason: "draining" });
const TOO_MANY_POLLS: Problem = Object.freeze({ status: 429, title: "Too many callers wait for the trust bundle.", reason: "overloaded" });
const NO_STORE = { "cache-control": "no-store" };

function applicantOf(c: NexusContext, access: Access): Applicant | { readonly problem: Problem } {
	const { req } = c.env;
	const authorization = req.header("authorization");
	const bearer = authorization === undefined ? undefined : bearerOf(authorization);
	if (bearer?.startsWith(JOIN_TOKEN_PREFIX) !== true) {
		const admission = access.admit(req, "member");
		if (!admission.ok) return admission;
		const { peer } = req.caller;
		return peer === undefined
			? { problem: unauthenticated("a certificate is issued for a join token (nxj_...), or for the certificate that it renews") }
			: { kind: "peer", peer };
	}
	const refusal = access.plainTextRefusal(req);
	if (refusal !== undefined) return { problem: refusal };
	const reading = readJoinToken(bearer);
	return reading.ok ? { kind: "token", token: reading.token } : { problem: unauthenticated(reading.fault) };
}

/** People call services by their names. */
function fullIdentity(given: string, trustDomain: string): string {
	return given.includes("://") ? given : `spiffe://${trustDomain}/${given}`;
}

const NOT_GRANTED = {
	unauthorized: { status: 403, title: "This certificate is not for the caller." },
	bad_request: { status: 400, title: "The request for a certificate is not valid." },
	no_authority: { status: 503, title: "The authority cannot issue." },
	overloaded: { status: 429, title: "More certificates are asked for than can be issued." },
	not_kept: { status: 500, title: "The disk of Nexus failed." },
} as const;

function notGranted({ fault, words }: NotGranted): Problem {
	if (fault === "unauthenticated") return unauthenticated(words);
	return { ...NOT_GRANTED[fault], detail: words, reason: fault };
}

const CONFLICTS = {
	under_way: 409,
	no_root_key: 409,
	untouchable: 409,
	list_full: 409,
	not_denied: 404,
	bad_denial: 400,
	not_kept: 500,
} as const;

function conflict({ fault, words }: RotationRefused | DenialRefused | NotKept): Problem {
	return { status: CONFLICTS[fault], title: "The authority stays as it is.", detail: words, reason: fault === "bad_denial" ? "bad_request" : fault };
}

const noAuthority = failure("This Nexus is no certificate authority.");

const issueRoute: RouteConfig = {
	method: "post",
	path: "/v1/certificates",
	summary: "Get a certificate",
	description:
		"For a join token (`authorization: Bearer nxj_...`), or for the certificate of the connection, which is renewed. A use of the token is spent only when a certificate was issued.",
	request: { body: { required: true, content: { "application/json": { schema: certificateRequest } } } },
	security: [{ token: [] }, { certificate: [] }],
	responses: {
		201: { description: "Issued.", content: content(certificateAnswer) },
		400: failure("The request cannot be read, or is not signed with its key."),
		401: failure("Neither a valid join token nor a certificate."),
		403: failure("The request asks for another service, or the identity is on the deny list."),
		413: failure("A body above 64 KiB."),
		429: failure("Too many at once; see retry-after."),
		500: failure("The disk failed; no use of the token is spent."),
		503: noAuthority,
	},
};

const bundleRoute: RouteConfig = {
	method: "get",
	path: "/v1/trust-bundle",
	summary: "Whom the mesh trusts",
	description: "At once where it is newer than `after`, else as soon as it is, for at most `wait`.",
	request: { query: bundleQuery },
	responses: {
		200: { description: "A newer bundle.", content: content(bundleAnswer) },
		204: { description: "None within `wait`." },
		400: failure("The query is not valid."),
		429: failure("Too many wait."),
		503: noAuthority,
	},
};

const stateRoute: RouteConfig = {
	method: "get",
	path: "/v1/authority",
	summary: "State of the authority",
	responses: { 200: { description: "Authorities, bundle, workloads, rotation.", content: content(authorityAnswer) }, 503: noAuthority },
};

const rotateRoute: RouteConfig = {
	method: "post",
	path: "/v1/authority/rotate",
	summary: "Replace the intermediate, or root and intermediate",
	description: "Goes on by itself; `GET /v1/authority` shows what it waits for.",
	request: { body: { required: true, content: { "application/json": { schema: rotateRequest } } } },
	responses: {
		202: { description: "Begun.", content: content(authorityAnswer) },
		400: failure("The body is not valid."),
		409: failure("One is under way, or the key of the root is not there."),
		503: noAuthority,
	},
};

const denyRoute: RouteConfig = {
	method: "post",
	path: "/v1/authority/revocations",
	summary: "Put a serial number or an identity on the deny list",
	request: { body: { required: true, content: { "application/json": { schema: denialRequest } } } },
	responses: {
		200: { description: "In effect here, and on its way to every sidecar.", content: content(versionAnswer) },
		400: failure("The body is not valid."),
		409: failure("The list is full, or that is the authority itself."),
		503: noAuthority,
	},
};

const allowRoute: RouteConfig = {
	...denyRoute,
	method: "delete",
	summary: "Take a serial number or an identity off the deny list",
	responses: {
		200: { description: "No longer denied.", content: content(versionAnswer) },
		400: failure("The body is not valid."),
		404: failure("It is not on the list."),
		503: noAuthority,
	},
};
