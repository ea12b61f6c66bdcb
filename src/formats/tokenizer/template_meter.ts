/** Counts what a template does: steps, depth, and the size of every value, as a text made of it would have. */
import { FormatError } from '../../tensor/errors.ts'
import type { Value } from './jinja_runtime.ts'

export interface Meter {
  /** Before a node is evaluated; `cost` in steps. */
  enter(cost: number): void
  /** After a node gave `value`; a value seen for the first time costs steps by its size. */
  leave(value: Value): void
  /** @throws FormatError if reading all of `value` takes too many steps. */
  read(value: Value): void
  /** @throws FormatError if a loop over `value` takes too many steps. */
  iterate(value: Value): void
  /** @throws FormatError if a list of `count` elements is too long. */
  checkElements(count: number): void
  /** @throws FormatError if the method or filter `name` would make too large a value. */
  checkCall(name: string, operand: Value, args: readonly Value[]): void
  exceeded(what: string): FormatError
}

/** Characters that cost as much time as one step. */
const CHARACTERS_PER_STEP = 32
/** What one turn of a loop costs beside its body. */
const STEPS_PER_TURN = 8
/** What an element of a list takes beside its content, in characters. */
const ELEMENT = 16
const DEEPEST_DATA = 100

export interface MeterLimits {
  steps: number
  characters: number
  depth: number
}

export function meter(limits: MeterLimits): Meter {
  const { steps, characters, depth } = limits
  let [spent, level] = [0, 0]
  const sizes = new WeakMap<object, number>()

  const exceeded = (what: string) =>
    new FormatError(`chat template: ${what}; take the template of the original model, or raise the limit`, {
      code: 'PARE_E_TEMPLATE_LIMIT',
      facts: { ...limits },
    })
  const spend = (amount: number) => {
    spent += amount
    if (spent > steps) throw exceeded(`takes more than ${steps} steps`)
  }
  const checkSize = (size: number) => {
    if (size > characters) throw exceeded(`makes a value of more than ${characters} characters`)
    return size
  }
  const checkElements = (count: number) => {
    checkSize(count * ELEMENT)
    spend(count)
  }

  /** Characters of the value as text, shared parts counted each time they would be written. */
  const sizeOf = (value: Value, deep = 0): number => {
    const known = sizes.get(value)
    if (known !== undefined) return known
    const size = typeof value.value === 'string' ? textSize(value.value) : dataSize(value, deep)
    // A namespace can change later.
    if (value.type !== 'NamespaceValue') sizes.set(value, size)
    return size
  }
  const textSize = ({ length }: string) => {
    spend(checkSize(length) / CHARACTERS_PER_STEP)
    return length
  }
  const dataSize = ({ value }: Value, deep: number) => {
    if (typeof value !== 'object' || value === null) return ELEMENT
    if (deep > DEEPEST_DATA) throw exceeded(`nests lists more than ${DEEPEST_DATA} deep`)
    const entries = (value as Map<string, Value> | Value[]).entries() as Iterable<[string | number, Value]>
    let size = ELEMENT
    for (const [key, child] of entries) {
      // What holds a namespace would grow unseen with it.
      if (child.type === 'NamespaceValue') throw exceeded('puts a namespace into a list or a mapping')
      const keySize = typeof key === 'string' ? key.length : 0
      size = checkSize(size + ELEMENT + keySize + sizeOf(child, deep + 1))
      spend(1)
    }
    return size
  }

  return {
    enter(cost) {
      if (++level > depth) throw exceeded(`nests more than ${depth} deep`)
      spend(cost)
    },
    leave(value) {
      level--
      sizeOf(value)
    },
    read: (value) => spend(sizeOf(value) / CHARACTERS_PER_STEP),
    iterate: (value) => spend(countOf(value) * STEPS_PER_TURN),
    checkElements,
    checkCall(name, operand, args) {
      const size = sizeOf(operand)
      const content = textOf(operand)
      const longest = args.reduce((most, arg) => Math.max(most, sizeOf(arg)), 0)
      if (name === 'replace') {
        const [old, made] = [textOf(args[0]), textOf(args[1])]
        if (content !== undefined && old !== undefined && made !== undefined)
          checkSize(size + occurrences(content, old) * made.length)
      } else if (name === 'split') {
        const separator = textOf(args[0])
        if (content !== undefined)
          checkElements(separator ? occurrences(content, separator) + 1 : content.length / 2)
      } else if (name === 'join') {
        checkSize(size + (content?.length ?? countOf(operand)) * longest)
      } else if (name === 'indent') {
        if (content !== undefined)
          checkSize(size + (occurrences(content, '\n') + 1) * Math.max(4, widthOf(args)))
      } else if (name === 'tojson') {
        checkSize(size + (size / ELEMENT) * (longest + widthOf(args) * nesting(operand)))
      }
    },
    exceeded,
  }
}

const textOf = (value: Value | undefined): string | undefined =>
  typeof value?.value === 'string' ? value.value : undefined

/** Elements of a list or keys of a mapping. */
function countOf({ value }: Value): number {
  if (Array.isArray(value)) return value.length
  return value instanceof Map ? value.size : 0
}

/** The largest number among the arguments, under whatever name it stands. */
function widthOf(args: readonly Value[]): number {
  const values = args.flatMap(({ value }) => (value instanceof Map ? [...value.values()] : [{ value }]))
  return values.reduce(
    (most, { value }) => (typeof value === 'number' ? Math.max(most, Math.abs(value)) : most),
    0,
  )
}

/** How many times `part` stands in `text`; an empty part stands everywhere. */
function occurrences(text: string, part: string): number {
  if (part === '') return text.length + 1
  let count = 0
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) count++
  return count
}

/** Depth of lists and mappings in a value whose size was measured, and which is therefore not deep. */
function nesting({ value }: Value): number {
  if (typeof value !== 'object' || value === null) return 0
  const children = (value instanceof Map ? [...value.values()] : value) as Value[]
  return 1 + children.reduce((most, child) => Math.max(most, nesting(child)), 0)
}
