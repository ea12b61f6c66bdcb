/**
 * A machine for pickles of protocol 2 (https://docs.python.org/3/library/pickletools.html) that builds numbers, texts,
 * lists, tuples, dictionaries and tensors, and nothing else. Its operations and the names it may call are closed lists;
 * the stack, the memo and everything it makes are bounded.
 */
import { printable } from '../../tensor/errors.ts'
import { damaged } from '../archive.ts'
import { callGlobal, checkGlobal } from './globals.ts'
import type { PickleCursor } from './pickle_cursor.ts'
import { kindOf, type PickleDict, type PickleSequence, type PickleValue } from './pickle_values.ts'

export interface PickleOptions {
  /** What a persistent id stands for; without it there must be none. */
  persistent?: (id: PickleValue) => PickleValue
}

/** Values on the stack, entries of the memo, and objects made, each. A tensor needs about ten of the last. */
const mostObjects = 400_000
const longestName = 256
const mark = Symbol('mark')
type Slot = PickleValue | typeof mark

/**
 * Reads one pickle; the cursor stands behind it afterwards.
 *
 * @throws FormatError for any operation or name outside the lists (the name is in the message), and for damage.
 */
export function readPickle(cursor: PickleCursor, { persistent }: PickleOptions = {}): PickleValue {
  const file = cursor.source.name
  const stack: Slot[] = []
  const memo = new Map<number, PickleValue>()
  let made = 0

  const refuse = (what: string) =>
    damaged(
      file,
      `the pickle ${what} at byte ${cursor.position}; it is damaged or no state of a model`,
      'PARE_E_TORCH_PICKLE',
      { position: cursor.position },
    )
  const push = (value: Slot) => {
    if (stack.length >= mostObjects) throw refuse(`holds more than ${mostObjects} values at once`)
    stack.push(value)
  }
  /** Pushes an object of its own, for which memory is taken. */
  const make = (value: PickleValue) => {
    if (++made > mostObjects) throw refuse(`makes more than ${mostObjects} objects`)
    push(value)
  }
  const pop = (): PickleValue => {
    const value = stack.pop()
    if (value === undefined || value === mark) throw refuse('takes a value that is not there')
    return value
  }
  const popToMark = (): PickleValue[] => {
    const start = stack.lastIndexOf(mark)
    if (start < 0) throw refuse('has no mark')
    const items = stack.splice(start) as PickleValue[]
    items.shift()
    return items
  }
  const popMany = (count: number): PickleValue[] => {
    if (stack.length < count) throw refuse('takes a value that is not there')
    const items = stack.splice(stack.length - count)
    if (items.includes(mark)) throw refuse('takes a value that is not there')
    return items as PickleValue[]
  }
  const top = <Kind extends 'list' | 'dict'>(kind: Kind) => {
    const value = stack.at(-1)
    if (typeof value !== 'object' || value?.kind !== kind)
      throw refuse(`needs a ${kind}, got ${value === mark ? 'a mark' : kindOf(value)}`)
    return value as Kind extends 'list' ? PickleSequence : PickleDict
  }
  const setItems = (items: readonly PickleValue[]) => {
    const { entries } = top('dict')
    if (items.length % 2 !== 0) throw refuse('has a key without a value')
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]!
      if (typeof key !== 'string' && typeof key !== 'number') throw refuse(`has a key that is ${kindOf(key)}`)
      entries.set(key, items[i + 1]!)
    }
  }
  const remember = (index: number) => {
    const value = stack.at(-1)
    if (value === undefined || value === mark) throw refuse('remembers nothing')
    if (memo.size >= mostObjects) throw refuse(`remembers more than ${mostObjects} values`)
    memo.set(index, value)
  }
  const recall = (index: number) => {
    const value = memo.get(index)
    if (value === undefined) throw refuse(`recalls value ${index}, which is not there`)
    push(value)
  }
  const tuple = (items: PickleValue[]) => make({ kind: 'tuple', items })

  for (;;) {
    const code = cursor.byte()
    switch (code) {
      case 0x80: {
        const protocol = cursor.byte()
        if (protocol !== 2) throw refuse(`has protocol ${protocol}, where Pare reads 2,`)
        break
      }
      case 0x2e: {
        const value = pop()
        if (stack.length > 0) throw refuse('ends with values left over')
        return value
      }
      case 0x28:
        push(mark)
        break
      case 0x4e:
        push(null)
        break
      case 0x88:
        push(true)
        break
      case 0x89:
        push(false)
        break
      case 0x4b:
        push(cursor.unsigned(1))
        break
      case 0x4d:
        push(cursor.unsigned(2))
        break
      case 0x4a:
        push(cursor.unsigned(4) | 0)
        break
      case 0x8a:
        make(longOf(cursor.bytes(cursor.byte())))
        break
      case 0x47:
        push(new DataView(cursor.bytes(8).slice().buffer).getFloat64(0))
        break
      case 0x58:
        make(utf8(cursor.bytes(cursor.unsigned(4))))
        break
      case 0x54:
        make(latin1(cursor.bytes(cursor.unsigned(4))))
        break
      case 0x55:
        make(latin1(cursor.bytes(cursor.byte())))
        break
      case 0x7d:
        make({ kind: 'dict', entries: new Map() })
        break
      case 0x5d:
        make({ kind: 'list', items: [] })
        break
      case 0x29:
        tuple([])
        break
      case 0x74:
        tuple(popToMark())
        break
      case 0x85:
      case 0x86:
      case 0x87:
        tuple(popMany(code - 0x84))
        break
      case 0x61: {
        const value = pop()
        top('list').items.push(value)
        break
      }
      case 0x65: {
        const items = popToMark()
        const list = top('list')
        for (const item of items) list.items.push(item)
        break
      }
      case 0x73:
        setItems(popMany(2))
        break
      case 0x75:
        setItems(popToMark())
        break
      case 0x71:
        remember(cursor.byte())
        break
      case 0x72:
        remember(cursor.unsigned(4))
        break
      case 0x68:
        recall(cursor.byte())
        break
      case 0x6a:
        recall(cursor.unsigned(4))
        break
      case 0x63: {
        const name = `${cursor.line(longestName)}.${cursor.line(longestName)}`
        checkGlobal(file, name)
        make({ kind: 'global', name })
        break
      }
      case 0x52: {
        const [callee, args] = popMany(2)
        if (typeof callee !== 'object' || callee?.kind !== 'global') throw refuse(`calls ${kindOf(callee)}`)
        if (typeof args !== 'object' || args?.kind !== 'tuple') throw refuse('calls without a tuple')
        make(callGlobal(file, callee.name, args.items))
        break
      }
      case 0x51: {
        const id = pop()
        if (!persistent) throw refuse('refers to a storage')
        make(persistent(id))
        break
      }
      case 0x62: {
        // Attributes of an OrderedDict, such as the version of its modules: nothing that a tensor needs.
        const state = pop()
        if (typeof state !== 'object' || state?.kind !== 'dict')
          throw refuse(`sets ${kindOf(state)} as attributes`)
        top('dict')
        break
      }
      default:
        throw refuse(`has the operation ${printable(`0x${code.toString(16)}`)}, which Pare does not run,`)
    }
  }

  function utf8(bytes: Uint8Array): string {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      throw refuse('has a text that is not UTF-8')
    }
  }
}

/** Texts of Python 2. */
const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')

/** A little-endian number in two's complement: a number where it fits, else a bigint. */
function longOf(bytes: Uint8Array): number | bigint {
  const value = bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n)
  const signed = BigInt.asIntN(bytes.length * 8, value)
  const plain = Number(signed)
  return Number.isSafeInteger(plain) ? plain : signed
}
