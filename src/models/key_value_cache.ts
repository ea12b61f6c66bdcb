/** Keys and values of earlier tokens, so that a model continues a text without reading it again. */
import { sizeOf } from '../tensor/dtype.ts'
import { OptionError } from '../tensor/errors.ts'
import { type Resource, State, scope, type Tensor } from '../tensor/index.ts'
import type { KeyValueCache } from './stage.ts'

/**
 * A cache that grows with every append. Its memory doubles where it is full, so that a token costs the same however
 * many there are. It belongs to no scope, since it outlives the forwards that fill it: `dispose` frees it, or else
 * the garbage collector.
 *
 * @example
 * const cache = new GrowingCache(model.config.layers.length)
 * resident.forward(prompt, { cache })
 * const logits = resident.forward(Uint32Array.of(next), { cache })
 */
export class GrowingCache implements KeyValueCache, Resource {
  private readonly blocks: { keys: Growing; values: Growing }[]

  /**
   * @param blocks decoder blocks of the model
   * @param most tokens that will come, so that there is never room for more; more are refused. @default no limit
   */
  constructor(blocks: number, most: number = Number.POSITIVE_INFINITY) {
    if (!(Number.isInteger(blocks) && blocks >= 1)) {
      throw new OptionError(`key-value cache: needs a whole number of blocks from 1 on, got ${blocks}`)
    }
    this.blocks = Array.from({ length: blocks }, () => ({
      keys: new Growing(most),
      values: new Growing(most),
    }))
  }

  /** Tokens that every block holds. */
  get length(): number {
    return Math.min(...this.blocks.map(({ values }) => values.length))
  }

  /** Bytes of all keys and values, the room for more of them included. */
  get bytes(): number {
    return this.blocks.reduce((sum, { keys, values }) => sum + keys.bytes + values.bytes, 0)
  }

  /** All keys and values of a block; they hold until its next `append` or `truncate`. */
  append(block: number, keys: Tensor, values: Tensor): { keys: Tensor; values: Tensor } {
    const held = this.held(block)
    return { keys: held.keys.append(keys), values: held.values.append(values) }
  }

  private held(block: number): { keys: Growing; values: Growing } {
    const held = this.blocks[block]
    if (held) return held
    throw new OptionError(
      `key-value cache: block ${block} is past the last of ${this.blocks.length}; make a larger cache`,
    )
  }

  extend(
    block: number,
    tokens: number,
    { kvHeads, size }: { kvHeads: number; size: number },
  ): { past: number; keys: State; values: State } {
    const { keys, values } = this.held(block)
    const past = keys.length
    const line = [1, kvHeads, size]
    return { past, keys: keys.extend(tokens, line), values: values.extend(tokens, line) }
  }

  /** Forgets all tokens after the first `tokens`: after a forward that stopped half way, or to try another text. */
  truncate(tokens: number): void {
    for (const { keys, values } of this.blocks) for (const each of [keys, values]) each.truncate(tokens)
  }

  dispose(): void {
    this.truncate(0)
  }
}

/** Tokens that there is room for at first. */
const FIRST_ROOM = 16

/** Keys or values of one block. */
class Growing {
  length = 0
  private readonly most: number
  /** [room, batch, kvHeads, headSize]: the new tokens of all heads stand together. */
  private memory: State | undefined
  /** What the last append returned, and a forward may still use. */
  private shown: Tensor | undefined

  constructor(most: number) {
    this.most = most
  }

  get bytes(): number {
    return this.memory ? this.memory.shape.reduce((a, b) => a * b, sizeOf(this.memory.dtype)) : 0
  }

  /** Adds [batch, kvHeads, tokens, headSize] and returns all of it, as a view. */
  append(x: Tensor): Tensor {
    const length = this.length + x.extent(2)
    const shown = scope(() => {
      const rows = x.permute([2, 0, 1, 3]) // [tokens, batch, kvHeads, headSize]
      const memory = this.memoryFor(length, rows)
      memory.setRows(this.length, rows)
      return memory.rows(0, length).permute([1, 2, 0, 3])
    })
    shown.adopt()
    this.show(shown)
    this.length = length
    return shown
  }

  /** Room for more tokens of one sequence, whose numbers the caller writes, each of shape `line` in f32. */
  extend(tokens: number, line: readonly number[]): State {
    this.show(undefined)
    const memory = this.memoryFor(this.length + tokens, { shape: [tokens, ...line], dtype: 'f32' })
    this.length += tokens
    return memory
  }

  truncate(tokens: number): void {
    if (this.length <= tokens) return
    this.show(undefined)
    this.length = tokens
    if (tokens > 0) return
    this.memory?.dispose()
    this.memory = undefined
  }

  private memoryFor(length: number, { shape, dtype }: Pick<Tensor, 'shape' | 'dtype'>): State {
    const former = this.memory
    if (former && length <= former.shape[0]!) return former
    if (length > this.most)
      throw new OptionError(
        `key-value cache: has room for ${this.most} tokens, got ${length}; make a larger cache`,
      )
    const room = Math.min(this.most, Math.max(length, former ? 2 * former.shape[0]! : FIRST_ROOM))
    const memory = new State('key-value cache', [room, ...shape.slice(1)], former?.dtype ?? dtype)
    try {
      if (former) scope(() => memory.setRows(0, former.rows(0, this.length)))
    } catch (error) {
      memory.dispose()
      throw error
    }
    this.memory = memory
    former?.dispose()
    return memory
  }

  private show(next: Tensor | undefined): void {
    this.shown?.dispose()
    this.shown = next
  }
}
