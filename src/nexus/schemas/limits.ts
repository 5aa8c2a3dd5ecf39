/** How large schemas may be: they are compiled on the loop that serves, and run for every event of their type. */

/** A document, as JSON. */
export const SCHEMA_BYTES_MAX = 64 * 1024;
/** Lists and objects within each other in a document. */
export const SCHEMA_DEPTH_MAX = 64;
/** Schemas in a document, each counted as often as references reach it: what one value may cost. As many take 50 to 80 ms to compile, on the serving loop. */
export const SCHEMA_COST_MAX = 512;
/** Characters of a `pattern`, and steps of the machine it becomes; a value costs its length times these at most. */
export const PATTERN_CHARS_MAX = 256;
export const PATTERN_STEPS_MAX = 512;
/** Comparing all members with all others is quadratic. */
export const UNIQUE_ITEMS_MAX = 256;
/** Event types with schemas of their own. */
export const TYPES_MAX = 10_000;
/** Versions of one type; the last ones are compared with a new one. */
export const VERSIONS_MAX = 100;
/** Reasons told about one document or change. */
export const REASONS_MAX = 20;
/** Characters of one reason. */
export const REASON_CHARS_MAX = 300;
