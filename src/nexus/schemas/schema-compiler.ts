/** Compiles judged schemas with ajv, so that nothing it compiles can take long or reach out. */
import { Ajv2020, type ErrorObject, type Options, type ValidateFunction } from "ajv/dist/2020.js";
import { FORMATS } from "./formats.ts";
import { REASON_CHARS_MAX, REASONS_MAX } from "./limits.ts";
import { compileLinearPattern } from "./linear-pattern.ts";
import { isObject, type JsonSchema, type SchemaFault, schemaFaults } from "./schema-document.ts";

/** Undefined where the data is fine; else the first thing that is wrong, as in `data/total must be number`. */
export type DataCheck = (data: unknown) => string | undefined;

export type CompiledSchema = { readonly ok: true; readonly check: DataCheck } | { readonly ok: false; readonly faults: readonly SchemaFault[] };

const OPTIONS: Options = {
	// Keywords are judged before, with their places.
	strict: false,
	allErrors: false,
	// A schema that is referred to a hundred times is compiled once.
	inlineRefs: false,
	logger: false,
	formats: Object.fromEntries(FORMATS),
	// Its optimizer doubles the time to compile, and V8 does that work anyway.
	code: { optimize: false, regExp: Object.assign(linear, { code: "linear" }) },
};

const INHERITED = Object.getOwnPropertyNames(Object.prototype);

export class SchemaCompiler {
	/** Knows the schema of schemas, and nothing else. */
	readonly #judge = new Ajv2020(OPTIONS);

	/** Never throws. */
	compile(document: unknown): CompiledSchema {
		const faults = schemaFaults(document);
		if (faults.length > 0) return { ok: false, faults };
		const schema = withoutIdentity(document as JsonSchema);
		if (this.#judge.validateSchema(schema) !== true) return { ok: false, faults: metaFaults(this.#judge.errors ?? []) };
		try {
			// One that is let go of afterwards: it keeps all that it has ever compiled.
			return { ok: true, check: checkOf(newAjv(schema).compile(schema)) };
		} catch (thrown) {
			// What only ajv knows to be wrong.
			return { ok: false, faults: [{ path: "", message: thrown instanceof Error ? cut(thrown.message) : "cannot be compiled" }] };
		}
	}
}

function newAjv(schema: JsonSchema): Ajv2020 {
	const ajv = new Ajv2020({ ...OPTIONS, meta: false, validateSchema: false, ownProperties: namesInherited(schema) });
	const tuple = ajv.getKeyword("prefixItems");
	// Of a list that is shorter it skips whatever comes behind it: `contains` and `uniqueItems`, where it stands.
	if (typeof tuple === "object") ajv.removeKeyword("prefixItems").addKeyword({ ...tuple, before: "unevaluatedItems" });
	return ajv;
}

/** Whether it is about names that every object has, where nobody wrote them: asking whose they are takes ten times as long as not to. */
function namesInherited(schema: JsonSchema): boolean {
	const text = JSON.stringify(schema);
	return INHERITED.some((name) => text.includes(`"${name}"`));
}

/** Members of lists are compared with each other as deep as they go. */
function checkOf(validate: ValidateFunction): DataCheck {
	return (data) => {
		try {
			return validate(data) ? undefined : reasonOf(validate.errors?.[0]);
		} catch (thrown) {
			if (thrown instanceof RangeError) return "data is nested too deep to be compared";
			throw thrown;
		}
	};
}

/** Its own references begin with `#`, whatever it says that it is. */
function withoutIdentity(document: JsonSchema): JsonSchema {
	if (!isObject(document)) return document;
	const { $id: _, ...rest } = document;
	return rest;
}

/** In place of RegExp; ajv tells patterns apart by their text. */
function linear(source: string): { test: (text: string) => boolean; toString: () => string } {
	const compiled = compileLinearPattern(source);
	// The meta-schema's own patterns are among them; all others were judged before.
	const test = compiled.ok ? compiled.pattern.test : (text: string) => new RegExp(source, "u").test(text);
	return { test, toString: () => source };
}

function metaFaults(errors: readonly ErrorObject[]): SchemaFault[] {
	return errors.slice(0, REASONS_MAX).map((error) => ({ path: error.instancePath, message: cut(detailed(error)) }));
}

function reasonOf(error: ErrorObject | undefined): string {
	return error === undefined ? "data is not valid" : cut(`data${error.instancePath} ${detailed(error)}`);
}

function detailed({ keyword, message = "is not valid", params }: ErrorObject): string {
	switch (keyword) {
		case "enum":
			return `${message}: ${(params.allowedValues as readonly unknown[]).map((value) => JSON.stringify(value)).join(", ")}`;
		case "const":
			return `${message}: ${JSON.stringify(params.allowedValue)}`;
		case "additionalProperties":
			return `${message}: ${JSON.stringify(params.additionalProperty)}`;
		case "unevaluatedProperties":
			return `${message}: ${JSON.stringify(params.unevaluatedProperty)}`;
		default:
			return message;
	}
}

function cut(text: string): string {
	return text.length <= REASON_CHARS_MAX ? text : `${text.slice(0, REASON_CHARS_MAX - 1)}…`;
}
