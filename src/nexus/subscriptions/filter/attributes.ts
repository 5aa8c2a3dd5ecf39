/** How filters see an event: context attributes by name, never its data. */
import type { CloudEvent } from "../../../events/cloud-event.ts";

/** What a context attribute holds (CloudEvents 1.0 section "Type System", in JSON). */
export type AttributeValue = string | number | boolean;

/** The attribute, or undefined where the event has none of that name. */
export type AttributeReader = (event: CloudEvent) => AttributeValue | undefined;

const NAME = /^[a-z0-9]+$/;

export function isAttributeName(name: string): boolean {
	return NAME.test(name) && name !== "data";
}

export function attributeReader(name: string): AttributeReader {
	// The attributes that most filters ask for, each as a property that the engine can see.
	switch (name) {
		case "type":
			return (event) => event.type;
		case "source":
			return (event) => event.source;
		case "subject":
			return (event) => event.subject;
		case "priority":
			return (event) => event.priority;
		case "data":
			return () => undefined;
		default:
			return (event) => readAttribute(event, name);
	}
}

export function readAttribute(event: CloudEvent, name: string): AttributeValue | undefined {
	const value = (event as unknown as Record<string, unknown>)[name];
	switch (typeof value) {
		case "string":
		case "number":
		case "boolean":
			return value;
		default:
			// Also what objects inherit, such as `constructor`.
			return undefined;
	}
}

/** The canonical string form, in which attributes are compared with text. */
export function textOf(value: AttributeValue): string {
	return typeof value === "string" ? value : String(value);
}
