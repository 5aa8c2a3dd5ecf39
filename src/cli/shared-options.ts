/** Options that several commands share. */
import { type Command, InvalidArgumentError } from "commander";

/** Of commands that call Nexus. */
export function nexusOptions(command: Command): Command {
	return command
		.option("--url <url>", "the API of Nexus", "http://127.0.0.1:7400")
		.option("--token-file <file>", "file with a token; else the variable NEXUS_TOKEN, if there is one")
		.option("--ca <file>", "roots of the mesh (ca.pem), for https://");
}

export function wholeNumber(value: string): number {
	if (!/^\d{1,15}$/.test(value)) throw new InvalidArgumentError("a whole number is needed.");
	return Number(value);
}
