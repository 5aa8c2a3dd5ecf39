/** Every bound of the HTTP/1.1 codec, with its reason. A peer that exceeds one gets a typed answer, never more memory. */

/** Start line and header section together. Envoy 60 KiB, HAProxy and Caddy 16 KiB; cookies and tokens of real services reach 30 KiB. */
export const HEAD_BYTES_MAX = 64 * 1024;

/** Header fields of one message. Envoy and HAProxy allow 100; a hop through two proxies adds up to 8. */
export const FIELDS_MAX = 128;

/** Request target. RFC 9112 section 3 asks for at least 8,000; search and redirect URLs come near that. */
export const TARGET_BYTES_MAX = 16 * 1024;

/** A method name: the longest registered one (RFC 9110 registry) has 17 letters. */
export const METHOD_BYTES_MAX = 32;

/** Chunk extensions of one whole message. Nobody uses them; CVE-2024-22019 is what happens without a bound. */
export const CHUNK_EXTENSION_BYTES_MAX = 4 * 1024;

/** Digits of a chunk size: 2^52 bytes is more than any body and below 2^53, where doubles stop being exact. */
export const CHUNK_SIZE_DIGITS_MAX = 13;

/** Digits of Content-Length, for the same reason. */
export const CONTENT_LENGTH_DIGITS_MAX = 15;

/** Trailer section. Trailers carry checksums and gRPC statuses, not data. */
export const TRAILER_BYTES_MAX = 8 * 1024;
export const TRAILER_FIELDS_MAX = 32;

/** Interim (1xx) answers before the final one; a server that sends more is broken or hostile. */
export const INTERIM_RESPONSES_MAX = 16;
