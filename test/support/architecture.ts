/** Reads a source tree with the TypeScript parser and tells where it breaks the house rules of imports (STYLE.md, the ranks). */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import {
	isCallExpression,
	isExportAssignment,
	isExportDeclaration,
	isExternalModuleReference,
	isIdentifier,
	isImportDeclaration,
	isImportEqualsDeclaration,
	isImportTypeNode,
	isLiteralTypeNode,
	isMetaProperty,
	isNewExpression,
	isPropertyAccessExpression,
	isStringLiteralLikeNode,
	type Node,
	type SourceFile,
	SyntaxKind,
} from "typescript/unstable/ast";
import { API } from "typescript/unstable/sync";

export interface ArchitectureRules {
	/** Room (folder under src/) -> rank. */
	readonly ranks: ReadonlyMap<string, number>;
	/** Rooms that know no I/O. */
	readonly codecs: ReadonlySet<string>;
	/** Modules that bring sockets. */
	readonly sockets: ReadonlySet<string>;
	readonly linesMax: number;
	/** Files that may be longer, each with its reason. */
	readonly longFiles: ReadonlyMap<string, string>;
}

const MAIN = "main.ts";

/** `root` holds src/ and a tsconfig.json. One line for each violation, `src/file.ts:line: what`, sorted. */
export function violationsOf(root: string, rules: ArchitectureRules): string[] {
	const api = new API({ cwd: root });
	try {
		const project = api.updateSnapshot({ openProjects: [join(root, "tsconfig.json")] }).getProjects()[0];
		if (project === undefined) throw new Error(`no project at ${root}`);
		const violations = filesUnder(join(root, "src")).flatMap((path) => {
			const source = project.program.getSourceFile(path);
			const file = relative(join(root, "src"), path);
			return source === undefined ? [`src/${file}:1: is not a source that the compiler reads`] : new FileReader(file, source, rules).read();
		});
		return [...violations, ...staleReasons(root, rules)].sort();
	} finally {
		api.close();
	}
}

/** A reason for a length that nobody needs any more. */
function staleReasons(root: string, rules: ArchitectureRules): string[] {
	return [...rules.longFiles.keys()].flatMap((file) => {
		const path = join(root, "src", file);
		const isLong = existsSync(path) && readFileSync(path, "utf8").split("\n").length - 1 > rules.linesMax;
		return isLong ? [] : [`src/${file}:1: is listed as a long file and is none`];
	});
}

function filesUnder(directory: string): string[] {
	return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
		const path = join(directory, entry.name);
		return entry.isDirectory() ? filesUnder(path) : [path];
	});
}

class FileReader {
	readonly #file: string;
	readonly #source: SourceFile;
	readonly #rules: ArchitectureRules;
	readonly #violations: string[] = [];

	constructor(file: string, source: SourceFile, rules: ArchitectureRules) {
		this.#file = file;
		this.#source = source;
		this.#rules = rules;
	}

	read(): string[] {
		if (rankOf(this.#file, this.#rules) === undefined) this.#tellAt(1, "stands in no room that has a rank");
		const lines = this.#source.text.split("\n").length - 1;
		if (lines > this.#rules.linesMax && !this.#rules.longFiles.has(this.#file))
			this.#tellAt(1, `has ${lines} lines, more than ${this.#rules.linesMax}`);
		this.#visit(this.#source);
		return this.#violations;
	}

	#visit(node: Node): void {
		const imported = importedBy(node);
		if (imported === "unknown") this.#tell(node, "imports what only the run time knows");
		else if (imported !== undefined) this.#judgeImport(node, imported);
		if (this.#file !== MAIN && endsTheProcess(node)) this.#tell(node, "ends the process; only main.ts may");
		if (isDefaultExport(node)) this.#tell(node, "exports by default; exports have names");
		node.forEachChild((child) => this.#visit(child));
	}

	#judgeImport(node: Node, specifier: string): void {
		const room = roomOf(this.#file);
		if (!specifier.startsWith(".")) {
			if (room === "core" && !specifier.startsWith("node:")) this.#tell(node, `core imports ${specifier}; it may import node: only`);
			if (this.#rules.codecs.has(room) && this.#rules.sockets.has(specifier))
				this.#tell(node, `${room} imports ${specifier}; a codec knows no sockets`);
			return;
		}
		const target = join(dirname(this.#file), specifier);
		const targetRoom = roomOf(target);
		const rank = rankOf(this.#file, this.#rules);
		const targetRank = rankOf(target, this.#rules);
		if (target.startsWith("..")) this.#tell(node, `imports ${specifier}, outside of src/`);
		else if (targetRank === undefined) this.#tell(node, `imports ${specifier}, which stands in no room that has a rank`);
		else if (rank === undefined || room === targetRoom) return;
		else if (targetRank > rank) this.#tell(node, `${room} (rank ${rank}) imports ${targetRoom} (rank ${targetRank}) above it`);
		else if (targetRank === rank) this.#tell(node, `${room} imports ${targetRoom}, its sibling of rank ${rank}`);
	}

	#tell(node: Node, what: string): void {
		this.#tellAt(this.#source.getLineAndCharacterOfPosition(node.getStart(this.#source)).line + 1, what);
	}

	#tellAt(line: number, what: string): void {
		this.#violations.push(`src/${this.#file}:${line}: ${what}`);
	}
}

/** The folder under src/; main.ts is a room of its own. */
function roomOf(file: string): string {
	return file.split("/")[0] ?? "";
}

function rankOf(file: string, rules: ArchitectureRules): number | undefined {
	return rules.ranks.get(roomOf(file));
}

/** What a node imports by whichever spelling; "unknown" where the name is computed. */
function importedBy(node: Node): string | "unknown" | undefined {
	if (isImportDeclaration(node)) return literalOf(node.moduleSpecifier);
	if (isExportDeclaration(node)) return node.moduleSpecifier === undefined ? undefined : literalOf(node.moduleSpecifier);
	if (isImportEqualsDeclaration(node))
		return isExternalModuleReference(node.moduleReference) ? literalOf(node.moduleReference.expression) : undefined;
	if (isImportTypeNode(node)) return isLiteralTypeNode(node.argument) ? literalOf(node.argument.literal) : "unknown";
	if (isCallExpression(node)) {
		const isImport = node.expression.kind === SyntaxKind.ImportKeyword || (isIdentifier(node.expression) && node.expression.text === "require");
		return isImport ? literalOf(node.arguments[0]) : undefined;
	}
	return workerOf(node);
}

/** `new URL("./worker.ts", import.meta.url)`: how another thread's code is named. */
function workerOf(node: Node): string | undefined {
	if (!isNewExpression(node) || !isIdentifier(node.expression) || node.expression.text !== "URL") return undefined;
	const [path, base] = node.arguments ?? [];
	if (base === undefined || !isPropertyAccessExpression(base) || !isMetaProperty(base.expression)) return undefined;
	const name = literalOf(path);
	return name.endsWith(".ts") ? name : undefined;
}

function literalOf(node: Node | undefined): string | "unknown" {
	return node !== undefined && isStringLiteralLikeNode(node) ? node.text : "unknown";
}

// Only calls and reads through `process`: the other way, importing node:process, is told as such.
function endsTheProcess(node: Node): boolean {
	if (isImportDeclaration(node)) return literalOf(node.moduleSpecifier) === "node:process";
	if (!isPropertyAccessExpression(node)) return false;
	const ends = node.name.text === "exit" || node.name.text === "reallyExit" || node.name.text === "abort";
	return ends && isIdentifier(node.expression) && node.expression.text === "process";
}

function isDefaultExport(node: Node): boolean {
	if (isExportAssignment(node)) return true;
	if (node.kind === SyntaxKind.ExportSpecifier) return "name" in node && (node.name as { text?: string }).text === "default";
	return "modifiers" in node && Array.isArray(node.modifiers) && node.modifiers.some((modifier: Node) => modifier.kind === SyntaxKind.DefaultKeyword);
}
