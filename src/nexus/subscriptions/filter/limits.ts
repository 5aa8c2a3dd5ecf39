/** How large the filter of one subscription may be: it is evaluated for every event that its index entry brings up. */

/** Characters of one CESQL expression: three screens of text, and what its parser reads at most. */
export const EXPRESSION_CHARS_MAX = 4096;
/** Operators, operands and calls in one expression; also the depth of its closures, far below what the stack holds. */
export const EXPRESSION_NODES_MAX = 512;
/** Parentheses, calls and signs within each other: no person reads more. */
export const EXPRESSION_DEPTH_MAX = 32;
/** A `_` is tried at every place of a value, so value times pattern is what a match may cost. */
export const LIKE_CHARS_MAX = 256;
/** What a function may return: as much as the largest event holds. CONCAT could otherwise make megabytes out of one attribute. */
export const RESULT_CHARS_MAX = 64 * 1024;

/** `all`, `any` and `not` within each other. */
export const FILTER_DEPTH_MAX = 16;
/** Conditions of one filter, also those of its short form; each is one comparison of an event. */
export const FILTER_TERMS_MAX = 512;
/** Characters of a value or pattern that an attribute is compared with: the longest attribute that an event may have. */
export const VALUE_CHARS_MAX = 1024;
/** Characters of an attribute name, as in events. */
export const NAME_CHARS_MAX = 64;
/** Reasons told about one document: a wrong document is read by a person. */
export const FAULTS_MAX = 20;
