/** An error that the user can correct. Its message is complete: no stack trace is needed. */
export class FlowherdError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** One property with a value that the stack cannot use. */
export interface PropProblem<Prop extends string = string> {
  readonly prop: Prop;
  readonly value: unknown;
  readonly why: string;
}

/** Properties of a `FlowherdStack` that are not valid; names all of them. */
export class InvalidPropsError extends FlowherdError {
  constructor(readonly problems: readonly PropProblem[]) {
    const lines = problems.map(({ prop, value, why }) => `  ${prop}=${JSON.stringify(value)}: ${why}`);
    super(`invalid properties of FlowherdStack:\n${lines.join('\n')}`);
  }
}

/** A function's binary is missing. */
export class FunctionNotBuiltError extends FlowherdError {
  constructor(readonly path: string) {
    super(`no function binary at ${path}: run \`make build\`, or set artifacts to the directory that holds the functions`);
  }
}
