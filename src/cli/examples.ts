/** How the help of a command shows its examples. */

export function examples(...lines: [command: string, meaning: string][]): string {
	return `\nExamples:\n${lines.map(([command, meaning]) => `  ${command}\n      ${meaning}`).join("\n")}`;
}
