/** The parts of @huggingface/jinja that Pare uses; its own declarations do not resolve in ES modules. */
import * as jinja from '@huggingface/jinja'

/** A node of the parsed template. */
export interface Node {
  type: string
}

/** A value of a running template: `value` is a string, number, boolean, list, Map or function. */
export interface Value {
  type: string
  value: unknown
}

export interface Environment {
  readonly parent?: Environment
  readonly variables: ReadonlyMap<string, Value>
  /** Declares a variable; plain data is converted, functions get and give plain values. */
  set(name: string, value: unknown): unknown
}

export interface Interpreter {
  evaluate(node: Node | undefined, environment: Environment): Value
  run(program: Node): Value
}

const runtime = jinja as unknown as {
  Environment: new () => Environment
  Interpreter: new (environment: Environment) => Interpreter
  tokenize(source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }): unknown
  parse(tokens: unknown): Node
}

export const { Environment, Interpreter } = runtime

/** @throws SyntaxError or TypeError if the text is no template. */
export const parseTemplate = (source: string): Node =>
  runtime.parse(runtime.tokenize(source, { lstrip_blocks: true, trim_blocks: true }))
