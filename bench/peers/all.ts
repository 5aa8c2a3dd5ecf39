/** The contestants, in the order in which they take their turns. */
import { direct } from "./direct.ts";
import { envoy } from "./envoy.ts";
import { haproxy } from "./haproxy.ts";
import { httpProxy } from "./http-proxy.ts";
import { nginx } from "./nginx.ts";
import { ours } from "./ours.ts";
import type { Peer } from "./peer.ts";

// Ours stands between the two that it is held against most closely.
export const PEERS: readonly Peer[] = [direct, nginx, haproxy, ours, envoy, httpProxy];
