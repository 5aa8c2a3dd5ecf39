/** Reads a CESQL expression into a tree: recursive descent by precedence, bounded in length, depth and size. */
import { Lexer } from "./cesql-lexer.ts";
import type { CesqlError, CesqlNode, ComparisonOperator, LogicOperator, MathOperator } from "./cesql-syntax.ts";
import { INTEGER_MAX, INTEGER_MIN } from "./cesql-values.ts";
import { EXPRESSION_CHARS_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX, LIKE_CHARS_MAX } from "./limits.ts";

export type Parsed = { readonly ok: true; readonly node: CesqlNode } | { readonly ok: false; readonly error: CesqlError };

// Section 3.6. AND, OR and XOR bind alike, from left to right: SQL's own order is another.
const LEVEL_LOGIC = 1;
const LEVEL_COMPARISON = 2;
const LEVEL_SUM = 3;
const LEVEL_PRODUCT = 4;
const LEVEL_IN = 5;
const LEVEL_LIKE = 6;

const KEYWORDS = new Set(["AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"]);
const COMPARISONS = new Map<string, ComparisonOperator>([
	["=", "="],
	["!=", "!="],
	["<>", "!="],
	["<", "<"],
	["<=", "<="],
	[">", ">"],
	[">=", ">="],
]);

/** Never throws on any text. */
export function parseCesql(text: string): Parsed {
	if (text.length > EXPRESSION_CHARS_MAX) {
		const message = `an expression has at most ${EXPRESSION_CHARS_MAX} characters, this one has ${text.length}`;
		return { ok: false, error: { kind: "parse", at: EXPRESSION_CHARS_MAX, message } };
	}
	return new Parser(text).parse();
}

/** `undefined` from any method means that `#error` is set: nothing after it counts. */
class Parser {
	readonly #lexer: Lexer;
	#depth = 0;
	#nodes = 0;
	#error: CesqlError | undefined;

	constructor(text: string) {
		this.#lexer = new Lexer(text);
	}

	parse(): Parsed {
		const node = this.#expression(LEVEL_LOGIC);
		if (node !== undefined && this.#lexer.kind !== "end") this.#unexpected("an operator or the end");
		return node !== undefined && this.#error === undefined ? { ok: true, node } : { ok: false, error: this.#error as CesqlError };
	}

	#expression(level: number): CesqlNode | undefined {
		if (++this.#depth > EXPRESSION_DEPTH_MAX) return this.#fail(this.#lexer.at, `parts stand in each other more than ${EXPRESSION_DEPTH_MAX} deep`);
		let node = this.#operand();
		for (;;) {
			if (node === undefined) return undefined;
			const found = this.#infixLevel();
			if (found < level) break;
			node = this.#infix(node, found);
		}
		this.#depth--;
		return node;
	}

	/** 0 where no operator with two sides stands. */
	#infixLevel(): number {
		const { kind, value, upper } = this.#lexer;
		if (kind === "symbol") {
			if (COMPARISONS.has(value)) return LEVEL_COMPARISON;
			if (value === "+" || value === "-") return LEVEL_SUM;
			return value === "*" || value === "/" || value === "%" ? LEVEL_PRODUCT : 0;
		}
		if (kind !== "word") return 0;
		switch (upper) {
			case "AND":
			case "OR":
			case "XOR":
				return LEVEL_LOGIC;
			case "IN":
				return LEVEL_IN;
			case "LIKE":
				return LEVEL_LIKE;
			case "NOT":
				// Which of the two it negates is told by the word behind it; neither binds less than IN.
				return LEVEL_IN;
			default:
				return 0;
		}
	}

	#infix(left: CesqlNode, level: number): CesqlNode | undefined {
		const { at, value, upper } = this.#lexer;
		if (level >= LEVEL_IN) return this.#likeOrIn(left);
		this.#lexer.next();
		const right = this.#expression(level + 1);
		if (right === undefined) return undefined;
		if (level === LEVEL_LOGIC) return this.#node({ kind: "logic", at, operator: upper as LogicOperator, left, right });
		const comparison = COMPARISONS.get(value);
		if (comparison !== undefined) return this.#node({ kind: "comparison", at, operator: comparison, left, right });
		return this.#node({ kind: "math", at, operator: value as MathOperator, left, right });
	}

	#likeOrIn(operand: CesqlNode): CesqlNode | undefined {
		const { at } = this.#lexer;
		const negated = this.#lexer.isWord("NOT");
		if (negated) this.#lexer.next();
		if (this.#lexer.isWord("LIKE")) {
			this.#lexer.next();
			if (this.#lexer.kind !== "string") return this.#unexpected("a pattern in quotes");
			const pattern = this.#lexer.value;
			if (pattern.length > LIKE_CHARS_MAX) return this.#fail(this.#lexer.at, `a pattern has at most ${LIKE_CHARS_MAX} characters`);
			this.#lexer.next();
			return this.#node({ kind: "like", at, negated, operand, pattern });
		}
		if (!this.#lexer.isWord("IN")) return this.#unexpected("LIKE or IN");
		this.#lexer.next();
		if (!this.#lexer.isSymbol("(")) return this.#unexpected("( and the elements of a set");
		this.#lexer.next();
		const set = this.#list();
		return set === undefined ? undefined : this.#node({ kind: "in", at, negated, operand, set });
	}

	#operand(): CesqlNode | undefined {
		const { kind, at, value } = this.#lexer;
		switch (kind) {
			case "integer":
				return this.#integer("", at);
			case "string":
				this.#lexer.next();
				return this.#node({ kind: "literal", at, value });
			case "symbol":
				return this.#signOrGroup(value, at);
			case "word":
				return this.#word(at);
			default:
				return this.#unexpected("a value");
		}
	}

	#signOrGroup(symbol: string, at: number): CesqlNode | undefined {
		if (symbol === "(") {
			this.#lexer.next();
			const node = this.#expression(LEVEL_LOGIC);
			if (node === undefined) return undefined;
			if (!this.#lexer.isSymbol(")")) return this.#unexpected(")");
			this.#lexer.next();
			return node;
		}
		if (symbol !== "-" && symbol !== "+") return this.#unexpected("a value");
		if (this.#lexer.touchesDigits) {
			this.#lexer.next();
			return this.#lexer.kind === "integer" ? this.#integer(symbol, at) : this.#unexpected("a number");
		}
		if (symbol === "+") return this.#unexpected("a value");
		return this.#prefixed("minus", at);
	}

	#prefixed(kind: "minus" | "not", at: number): CesqlNode | undefined {
		this.#lexer.next();
		// Binds tighter than any operator with two sides: NOT a = b is (NOT a) = b.
		const operand = this.#expression(LEVEL_LIKE + 1);
		return operand === undefined ? undefined : this.#node({ kind, at, operand });
	}

	#integer(sign: string, at: number): CesqlNode | undefined {
		const value = Number(sign + this.#lexer.value);
		if (value > INTEGER_MAX || value < INTEGER_MIN) return this.#fail(at, `numbers are from ${INTEGER_MIN} to ${INTEGER_MAX}`);
		this.#lexer.next();
		return this.#node({ kind: "literal", at, value });
	}

	#word(at: number): CesqlNode | undefined {
		const { value, upper } = this.#lexer;
		switch (upper) {
			case "TRUE":
			case "FALSE":
				this.#lexer.next();
				return this.#node({ kind: "literal", at, value: upper === "TRUE" });
			case "NOT":
				return this.#prefixed("not", at);
			case "EXISTS":
				this.#lexer.next();
				return this.#exists(at);
		}
		if (KEYWORDS.has(upper)) return this.#unexpected("a value");
		if (this.#lexer.peek === "(") return this.#call(upper, at);
		if (!this.#isAttribute(value)) return undefined;
		this.#lexer.next();
		return this.#node({ kind: "attribute", at, name: value });
	}

	#exists(at: number): CesqlNode | undefined {
		const { kind, value, upper } = this.#lexer;
		if ((kind !== "word" && kind !== "integer") || KEYWORDS.has(upper)) return this.#unexpected("the name of an attribute");
		// In any case, as the public test kit has it: elsewhere a word in capitals is a text whose quotes were forgotten, here it cannot be.
		const name = value.toLowerCase();
		if (!this.#isAttribute(name)) return undefined;
		this.#lexer.next();
		return this.#node({ kind: "exists", at, name });
	}

	#isAttribute(name: string): boolean {
		if (/^[a-z0-9]+$/.test(name)) return true;
		this.#fail(this.#lexer.at, `attributes are named with a-z and 0-9, and ${JSON.stringify(name.slice(0, 64))} is not; text stands in quotes`);
		return false;
	}

	#call(name: string, at: number): CesqlNode | undefined {
		if (!/^[A-Z][A-Z_]*$/.test(name)) return this.#fail(at, "functions are named with letters and _");
		this.#lexer.next();
		this.#lexer.next();
		if (this.#lexer.isSymbol(")")) {
			this.#lexer.next();
			return this.#node({ kind: "call", at, name, args: [] });
		}
		const args = this.#list();
		return args === undefined ? undefined : this.#node({ kind: "call", at, name, args });
	}

	/** Expressions up to the closing parenthesis; at least one. */
	#list(): CesqlNode[] | undefined {
		const nodes: CesqlNode[] = [];
		for (;;) {
			const node = this.#expression(LEVEL_LOGIC);
			if (node === undefined) return undefined;
			nodes.push(node);
			if (this.#lexer.isSymbol(")")) break;
			if (!this.#lexer.isSymbol(",")) return this.#unexpected(", or )");
			this.#lexer.next();
		}
		this.#lexer.next();
		return nodes;
	}

	#node(node: CesqlNode): CesqlNode | undefined {
		return ++this.#nodes > EXPRESSION_NODES_MAX ? this.#fail(node.at, `an expression has at most ${EXPRESSION_NODES_MAX} parts`) : node;
	}

	#unexpected(wanted: string): undefined {
		const { fault, kind, value, at } = this.#lexer;
		if (fault !== undefined) this.#error ??= fault;
		const found = kind === "end" ? "the expression ends" : `${JSON.stringify(value.slice(0, 32))} stands`;
		return this.#fail(at, `${found} where ${wanted} should stand`);
	}

	#fail(at: number, message: string): undefined {
		this.#error ??= { kind: "parse", at, message };
		return undefined;
	}
}
