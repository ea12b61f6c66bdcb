/**
 * Runs a Jinja program that nobody vouches for, on the interpreter of @huggingface/jinja.
 *
 * Every evaluation of a node is a step, and values cost steps by their size when they are made and when they
 * are read, so that the count bounds time and memory alike, on every machine at the same place. What one step
 * could blow up (replace, join, indent, split, tojson, range) is measured before it is done. Values are maps
 * and lists of the interpreter's own, without a way to the prototypes of JavaScript.
 */
import { OptionError, PareError, printable } from '../../tensor/errors.ts'
import { Environment, Interpreter, type Node, type Value } from './jinja_runtime.ts'
import { type Meter, meter } from './template_meter.ts'
import { type Fields, nodesOf, type TemplateProgram, templateError } from './template_program.ts'
import { strftime } from './template_time.ts'

export interface TemplateLimits {
  /** Steps before a template is stopped; a million are up to 1.5 seconds. @default 400_000 + twice the messages' characters */
  steps?: number
  /** Characters of the text and of every value on the way. @default 4_194_304 + 4 times the messages' characters */
  characters?: number
  /** Depth of nested blocks, calls and expressions; the stack of a thread holds about 700. @default 400 */
  depth?: number
}

/**
 * The text that a program writes. `data` is JSON: one object whose fields are the variables.
 *
 * @throws OptionError if it calls `raise_exception`, FormatError if it fails or passes a limit.
 */
export function runTemplate(
  program: TemplateProgram,
  data: string,
  now: Date,
  limits: TemplateLimits = {},
): string {
  const budget = meter({
    steps: limits.steps ?? 400_000 + 2 * data.length,
    characters: limits.characters ?? (1 << 22) + 4 * data.length,
    depth: limits.depth ?? 400,
  })
  try {
    const environment = new Environment()
    setGlobals(environment, now, budget)
    for (const [name, value] of Object.entries(JSON.parse(data))) environment.set(name, value)
    return new BoundedInterpreter(environment, program, budget).run(program.root).value as string
  } catch (cause) {
    if (cause instanceof PareError) throw cause
    if (cause instanceof RangeError) throw budget.exceeded('nests too deeply or makes too large a value')
    throw templateError(
      `fails on these messages (${printable((cause as Error).message)}), which may not fit it`,
      'PARE_E_TEMPLATE',
      cause,
    )
  }
}

function setGlobals(environment: Environment, now: Date, budget: Meter): void {
  for (const name of ['true', 'True']) environment.set(name, true)
  for (const name of ['false', 'False']) environment.set(name, false)
  for (const name of ['none', 'None']) environment.set(name, null)
  environment.set('raise_exception', (message: unknown) => {
    throw new OptionError(
      `chat messages: the model's template refuses them (${printable(String(message), 300)}); change the messages`,
      { code: 'PARE_E_TEMPLATE_REFUSED' },
    )
  })
  environment.set('strftime_now', (format: unknown) => strftime(now, String(format)))
  environment.set('range', (first: unknown, stop?: unknown, step: unknown = 1) =>
    range(stop === undefined ? [0, first, step] : [first, stop, step], budget),
  )
}

function range(bounds: unknown[], budget: Meter): number[] {
  if (!bounds.every(Number.isInteger)) throw new Error('range() takes integers')
  const [start, stop, step] = bounds as [number, number, number]
  if (step === 0) throw new Error('range() step must not be zero')
  const length = Math.max(0, Math.ceil((stop - start) / step))
  budget.checkElements(length)
  return Array.from({ length }, (_, i) => start + i * step)
}

/** A node that is already a value: operands are evaluated once, measured, and handed on. */
interface Constant extends Node {
  type: 'Constant'
  constant: Value
}
const constant = (value: Value): Constant => ({ type: 'Constant', constant: value })

/** Filters and methods whose result can be as long as the product of two inputs. */
const amplifying = new Set(['replace', 'join', 'indent', 'split', 'tojson'])
/** Filters that do not look at what a value holds. */
const shallow = new Set(['length', 'first', 'last', 'list', 'default', 'safe', 'abs', 'bool'])

class BoundedInterpreter extends Interpreter {
  private readonly program: TemplateProgram
  private readonly budget: Meter
  private readonly searchCosts = new Map<Node, number>()

  constructor(environment: Environment, program: TemplateProgram, budget: Meter) {
    super(environment)
    this.program = program
    this.budget = budget
  }

  override evaluate(node: Node | undefined, environment: Environment): Value {
    if (node === undefined) return super.evaluate(node, environment)
    if (node.type === 'Constant') return (node as Constant).constant
    this.budget.enter(1 + this.searchCost(node))
    // The interpreter has nothing, not even its undefined value, for the first of no elements.
    const found = this.bounded(node, environment) ?? super.evaluate(undefined, environment)
    const value = this.program.written.has(node) ? this.asPython(found, environment) : found
    this.budget.leave(value)
    if (this.program.read.has(node)) this.budget.read(value)
    if (this.program.iterated.has(node)) this.budget.iterate(value)
    return value
  }

  /** The interpreter writes true for True, and nothing for None. */
  private asPython(found: Value, environment: Environment): Value {
    const text = found.value === null ? 'None' : { true: 'True', false: 'False' }[String(found.value)]
    if (text === undefined || (found.value !== null && typeof found.value !== 'boolean')) return found
    return super.evaluate({ type: 'StringLiteral', value: text } as Node, environment)
  }

  private bounded(node: Node, environment: Environment): Value | undefined {
    if (node.type === 'Identifier') return lookUp((node as Node & { value: string }).value, environment)
    if (node.type === 'FilterExpression') return this.filter(node as FilterNode, environment)
    if (node.type === 'CallExpression') return this.call(node as CallNode, environment)
    if (node.type === 'FilterStatement') {
      const { body, filter } = node as FilterNode & { body: Node[] }
      const operand = { type: 'Program', body }
      return this.filter({ type: 'FilterExpression', operand, filter } as FilterNode, environment)
    }
    const value = super.evaluate(node, environment)
    // A method kept for later would be called unmeasured.
    if (node.type === 'MemberExpression' && value?.type === 'FunctionValue') return unusable(value)
    return value
  }

  private filter(node: FilterNode, environment: Environment): Value {
    const { filter } = node
    const name = String(filter.callee?.value ?? filter.value)
    const operand = this.evaluate(node.operand, environment)
    if (!shallow.has(name)) this.budget.read(operand)
    if (!amplifying.has(name)) return super.evaluate(copy(node, { operand: constant(operand) }), environment)
    const args = this.constants(filter.args ?? [], environment)
    this.budget.checkCall(name, operand, args.map(constantOf))
    const measured = filter.args ? copy(filter, { args }) : filter
    return super.evaluate(copy(node, { operand: constant(operand), filter: measured }), environment)
  }

  private call(node: CallNode, environment: Environment): Value {
    const { callee } = node
    if (callee.type !== 'MemberExpression') return super.evaluate(node, environment)
    const args = this.constants(node.args, environment)
    const object = this.evaluate(callee.object, environment)
    const property = callee.computed
      ? constant(this.evaluate(callee.property, environment))
      : (callee.property as Node & { value: unknown })
    const name = String('constant' in property ? property.constant.value : property.value)
    this.budget.read(object)
    if (amplifying.has(name)) this.budget.checkCall(name, object, args.map(constantOf))
    // The callee goes to the plain interpreter: here it is called at once, and measured.
    const method = super.evaluate(copy(callee, { object: constant(object), property }), environment)
    return super.evaluate(copy(node, { callee: constant(method), args }), environment)
  }

  /** Arguments as constants; names and double stars stay around them. */
  private constants(args: readonly Node[], environment: Environment): Node[] {
    const read = (node: Node) => {
      const value = this.evaluate(node, environment)
      this.budget.read(value)
      return constant(value)
    }
    return args.flatMap((arg) => {
      const { value, argument } = arg as ArgumentNode
      if (arg.type === 'KeywordArgumentExpression') return copy(arg, { value: read(value as Node) })
      if (arg.type !== 'SpreadExpression' && arg.type !== 'KeywordSpreadExpression') return read(arg)
      const spread = read(argument as Node)
      const elements = arg.type === 'SpreadExpression' ? spread.constant.value : undefined
      return Array.isArray(elements) ? elements.map(constant) : copy(arg, { argument: spread })
    })
  }

  /** The interpreter searches all of a macro or call block for its special names each time it meets one. */
  private searchCost(node: Node): number {
    if (node.type !== 'Macro' && node.type !== 'CallStatement') return 0
    let cost = this.searchCosts.get(node)
    if (cost === undefined) {
      cost = [...nodesOf((node as Node & { body: unknown }).body)].length / 4
      this.searchCosts.set(node, cost)
    }
    return cost
  }
}

type FilterNode = Node & {
  operand: Node
  filter: Fields & { value?: unknown; callee?: { value?: unknown }; args?: Node[] }
}
type CallNode = Node & {
  callee: Node & { object: Node; property: Node; computed: boolean }
  args: Node[]
}
type ArgumentNode = Node & { value?: unknown; argument?: unknown }

/**
 * The variable of the nearest scope that has it. The interpreter's own search recurses over the scopes and takes
 * an overflow of the stack for a variable that is not there.
 */
function lookUp(name: string, environment: Environment): Value | undefined {
  for (let scope: Environment | undefined = environment; scope; scope = scope.parent) {
    if (scope.variables.has(name)) return scope.variables.get(name)
  }
  return undefined
}

/** A copy of a node with other children, which keeps its class. */
function copy<T extends object>(node: T, fields: Record<string, unknown>): T {
  return Object.assign(Object.create(Object.getPrototypeOf(node)), node, fields)
}

/** The value of an argument made by `constants`. */
function constantOf(arg: Node): Value {
  const { type, value, argument } = arg as ArgumentNode
  if (type === 'Constant') return (arg as Constant).constant
  return ((type === 'KeywordArgumentExpression' ? value : argument) as Constant).constant
}

function unusable(method: Value): Value {
  const FunctionValue = method.constructor as new (call: () => never) => Value
  return new FunctionValue(() => {
    throw templateError('calls a method that it kept in a variable')
  })
}
