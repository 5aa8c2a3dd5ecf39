/** `${NAME}` and `${NAME:-default}` inside a value. */
import { type Refusal, refuse } from "./fault.ts";

export type Env = Readonly<Record<string, string | undefined>>;

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Puts the environment in; `$${` stands for a literal `${`. An empty variable counts as set, but yields to a default, as in shells. */
export function substitute(text: string, env: Env): string | Refusal {
	let out = "";
	let from = 0;
	for (let at = text.indexOf("${"); at !== -1; at = text.indexOf("${", from)) {
		if (text[at - 1] === "$" && at > from) {
			out += `${text.slice(from, at - 1)}\${`;
			from = at + 2;
			continue;
		}
		const end = text.indexOf("}", at);
		if (end === -1) return refuse(`has a \`\${\` without its \`}\``, `write \${NAME} or \${NAME:-default}; $\${ stands for a literal \${`);
		const inside = text.slice(at + 2, end);
		const split = inside.indexOf(":-");
		const name = split === -1 ? inside : inside.slice(0, split);
		const fallback = split === -1 ? undefined : inside.slice(split + 2);
		if (!NAME.test(name))
			return refuse(`has no variable name in \`\${${inside}}\``, `write \${NAME} or \${NAME:-default}; $\${ stands for a literal \${`);
		const found = env[name];
		const value = found === undefined || (found === "" && fallback !== undefined) ? fallback : found;
		if (value === undefined) return refuse(`needs the environment variable ${name}, which is not set`, `set it, or write \${${name}:-default}`);
		out += text.slice(from, at) + value;
		from = end + 1;
	}
	return out + text.slice(from);
}
