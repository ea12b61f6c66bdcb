/** Parses a template and looks it over before it is run: size, forbidden attributes, what each node costs. */
import { FormatError, printable } from '../../tensor/errors.ts'
import { type Node, parseTemplate } from './jinja_runtime.ts'

export interface TemplateProgram {
  root: Node
  /** Nodes whose value is read as a whole by the node around them; all others are handed on as they are. */
  read: ReadonlySet<object>
  /** Nodes whose value is a list that a loop goes through. */
  iterated: ReadonlySet<object>
  /** Expressions whose value becomes text as it stands. */
  written: ReadonlySet<object>
}

export type Fields = Record<string, unknown> & { type: string }

/** Known templates stay below 2^16. Twice as many tags take the parser a second. */
const LARGEST_SOURCE = 1 << 18
/** The lexer looks at a run of white space once from each of its characters. */
const LONGEST_BLANK_RUN = 512

export const templateError = (what: string, code = 'PARE_E_TEMPLATE', cause?: unknown) =>
  new FormatError(`chat template: ${what}; take the template of the original model`, { code, cause })

/**
 * @throws FormatError if the text is too large, is no template, or names what only an attack on the
 *   interpreter would name.
 */
export function compileTemplate(source: string): TemplateProgram {
  if (source.length > LARGEST_SOURCE)
    throw templateError(
      `has ${source.length} characters, at most ${LARGEST_SOURCE} are read`,
      'PARE_E_TEMPLATE_LIMIT',
    )
  if (new RegExp(`\\s{${LONGEST_BLANK_RUN + 1}}`).test(source))
    throw templateError(`holds more than ${LONGEST_BLANK_RUN} blanks in a row`, 'PARE_E_TEMPLATE_LIMIT')
  const program = {
    root: parse(source),
    read: new Set<object>(),
    iterated: new Set<object>(),
    written: new Set<object>(),
  }
  for (const node of nodesOf(program.root)) {
    refuseReflection(node)
    noteReads(node, program)
  }
  return program
}

function parse(source: string): Node {
  try {
    return parseTemplate(source)
  } catch (cause) {
    throw templateError(`does not parse (${printable((cause as Error).message)})`, 'PARE_E_TEMPLATE', cause)
  }
}

/** All nodes from `root` down; templates may nest too deeply for recursion. */
export function* nodesOf(root: unknown): Generator<Fields> {
  const open: unknown[] = [root]
  while (open.length > 0) {
    const node = open.pop()
    if (typeof node !== 'object' || node === null) continue
    if (node instanceof Map) for (const [key, value] of node) open.push(key, value)
    else {
      if ('type' in node) yield node as Fields
      for (const child of Object.values(node)) open.push(child)
    }
  }
}

const reflective = new Set(['constructor', 'prototype'])

function refuseReflection({ type, property }: Fields): void {
  const name = type === 'MemberExpression' ? (property as { value?: unknown }).value : undefined
  if (typeof name === 'string' && (reflective.has(name) || /^__.*__$/s.test(name)))
    throw templateError(`asks for the attribute ${printable(name)}`, 'PARE_E_TEMPLATE_UNSAFE')
}

/** Tests that compare contents; the others look at the type only. */
const readingTests = new Set(['lower', 'upper', 'equalto', 'eq'])

/** Nodes that give no text of their own, or text already. */
const statements = new Set(
  'Program Set If For Macro Comment CallStatement FilterStatement Break Continue StringLiteral'.split(' '),
)

interface Notes {
  read: Set<object>
  iterated: Set<object>
  written: Set<object>
}

function noteReads(node: Fields, { read, iterated, written }: Notes): void {
  const operator = (node.operator as { value?: unknown } | undefined)?.value
  if (node.type === 'BinaryExpression' && operator !== 'and' && operator !== 'or') {
    read.add(node.left as object)
    read.add(node.right as object)
    if (operator === '~') written.add(node.left as object).add(node.right as object)
  } else if (node.type === 'TestExpression' && readingTests.has(String((node.test as Fields).value))) {
    read.add(node.operand as object)
  } else if (node.type === 'MemberExpression' && (node.property as Fields).type === 'SliceExpression') {
    read.add(node.object as object)
  } else if (node.type === 'For') {
    const iterable = node.iterable as Fields
    iterated.add((iterable.type === 'SelectExpression' ? iterable.lhs : iterable) as object)
  }
  // What stands in a block is written out.
  for (const block of [node.body, node.alternate, node.defaultBlock])
    if (Array.isArray(block))
      for (const statement of block as Fields[]) {
        read.add(statement)
        if (!statements.has(statement.type)) written.add(statement)
      }
}
