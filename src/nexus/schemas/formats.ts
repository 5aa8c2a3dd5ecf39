/** The values of `format` that are checked, each in linear time; others are refused, so that nobody relies on what is not looked at. */
import { isIPv4, isIPv6 } from "node:net";

const DATE = /^(\d{4})-(\d\d)-(\d\d)$/;
const TIME = /^(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d{1,12})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const HOST_LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;
const MAILBOX = /^[^\s@"(),:;<>[\]\\]{1,64}$/;
const SCHEME = /^[a-z][a-z0-9+.-]*:/i;
const DURATION = /^P(?!$)(?:\d+W|(?:\d+Y)?(?:\d+M)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+S)?)?)$/;

export const FORMATS: ReadonlyMap<string, (text: string) => boolean> = new Map([
	["date", isDate],
	["time", (text: string) => TIME.test(text)],
	["date-time", isDateTime],
	["duration", (text: string) => DURATION.test(text)],
	["email", isEmail],
	["hostname", isHostName],
	["ipv4", isIPv4],
	["ipv6", (text: string) => isIPv6(text) && !text.includes("%")],
	["uri", (text: string) => SCHEME.test(text) && URL.canParse(text)],
	["uri-reference", (text: string) => URL.canParse(text, "http://a.example/")],
	["uuid", (text: string) => UUID.test(text)],
]);

function isDate(text: string): boolean {
	const [, year, month, day] = DATE.exec(text) ?? [];
	if (day === undefined) return false;
	// Days that a month does not have become days of the next.
	const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
	date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
	return date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day);
}

/** RFC 3339. */
function isDateTime(text: string): boolean {
	return /^[Tt]$/.test(text.charAt(10)) && isDate(text.slice(0, 10)) && TIME.test(text.slice(11));
}

function isHostName(text: string): boolean {
	return text.length <= 253 && text.split(".").every((label) => HOST_LABEL.test(label));
}

function isEmail(text: string): boolean {
	const at = text.lastIndexOf("@");
	return at > 0 && MAILBOX.test(text.slice(0, at)) && isHostName(text.slice(at + 1));
}
