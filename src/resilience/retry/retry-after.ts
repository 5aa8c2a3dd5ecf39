/** The field `retry-after` (RFC 9110 10.2.3): seconds, or an HTTP date in any of the three forms that a recipient must accept (5.6.7). */

/** Nobody waits longer than this for one request; a day keeps sums of it harmless. */
export const RETRY_AFTER_MS_MAX = 86_400_000;

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)";
const MONTH = `(${MONTHS.join("|")})`;
const TIME = "(\\d{2}):(\\d{2}):(\\d{2})";

const SECONDS = /^\d{1,10}$/;
/** Sun, 06 Nov 1994 08:49:37 GMT */
const IMF_FIXDATE = new RegExp(`^${DAY}, (\\d{2}) ${MONTH} (\\d{4}) ${TIME} GMT$`);
/** Sunday, 06-Nov-94 08:49:37 GMT */
const RFC_850 = new RegExp(`^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (\\d{2})-${MONTH}-(\\d{2}) ${TIME} GMT$`);
/** Sun Nov  6 08:49:37 1994 */
const ASCTIME = new RegExp(`^${DAY} ${MONTH} (\\d{2}| \\d) ${TIME} (\\d{4})$`);

/** Milliseconds from `wallMs` on, 0 for a date that has passed, at most a day; undefined where the value is malformed and says nothing. */
export function parseRetryAfter(value: string, wallMs: number): number | undefined {
	if (SECONDS.test(value)) return Math.min(Number(value) * 1000, RETRY_AFTER_MS_MAX);
	const atMs = parseHttpDate(value, wallMs);
	return atMs === undefined ? undefined : Math.min(Math.max(0, atMs - wallMs), RETRY_AFTER_MS_MAX);
}

/** Milliseconds since 1970. `wallMs` decides the century of a year of two digits. */
function parseHttpDate(text: string, wallMs: number): number | undefined {
	const fixed = IMF_FIXDATE.exec(text);
	if (fixed !== null) return toMs(Number(fixed[3]), fixed[2], fixed[1], fixed[4], fixed[5], fixed[6]);
	const old = RFC_850.exec(text);
	if (old !== null) return toMs(fullYear(Number(old[3]), wallMs), old[2], old[1], old[4], old[5], old[6]);
	const asctime = ASCTIME.exec(text);
	if (asctime !== null) return toMs(Number(asctime[6]), asctime[1], asctime[2], asctime[3], asctime[4], asctime[5]);
	return undefined;
}

type Digits = string | undefined;

function toMs(year: number, monthName: Digits, dayText: Digits, hour: Digits, minute: Digits, second: Digits): number | undefined {
	const month = MONTHS.indexOf(monthName ?? "");
	const day = Number(dayText);
	// 60 is a leap second.
	if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined;
	const date = new Date(0);
	date.setUTCFullYear(year, month, day);
	// The 31st of a month that has 30 would quietly be the 1st of the next one.
	if (date.getUTCMonth() !== month || date.getUTCDate() !== day) return undefined;
	return date.setUTCHours(Number(hour), Number(minute), Number(second));
}

/** RFC 9110 5.6.7: no more than 50 years ahead, so of the hundred years that end there. */
function fullYear(twoDigits: number, wallMs: number): number {
	const lastYear = new Date(wallMs).getUTCFullYear() + 50;
	return lastYear - ((lastYear - twoDigits) % 100);
}
