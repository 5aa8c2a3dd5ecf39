/** What rules ask about a request; who sends it is told apart, once per connection (authorizer.ts). */
export interface AuthorizationSubject {
	/** As received: in whatever letters. */
	readonly method: string;
	/** Normal (`normalTarget`) and without its query (`pathOf`): the same string that is sent upstream. */
	readonly path: string;
	/** Where the connection arrived. */
	readonly port: number;
	/** The value of the `index`-th field line of that name, from 0; undefined behind the last. `name` in lower case. */
	headerLine(name: string, index: number): string | undefined;
	/** The same of fields whose names differ from it by `_` for `-` only: servers of the CGI family read them as that field. */
	aliasLine(name: string, index: number): string | undefined;
}
