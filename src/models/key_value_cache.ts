/** Keys and values of earlier tokens, so that a model continues a text without reading it again. */
import { OptionError } from '../tensor/errors.ts'
import { concat, type Resource, scope, type Tensor } from '../tensor/index.ts'
import type { KeyValueCache } from './stage.ts'

interface Held {
  /** [batch, kvHeads, tokens, headSize] */
  keys: Tensor
  values: Tensor
}

/**
 * A cache that grows with every append. It belongs to no scope, since it outlives the forwards that fill it:
 * `dispose` frees it, or else the garbage collector.
 *
 * @example
 * const cache = new GrowingCache(model.config.layers.length)
 * resident.forward(prompt, { cache })
 * const logits = resident.forward(Uint32Array.of(next), { cache })
 */
export class GrowingCache implements KeyValueCache, Resource {
  private readonly blocks: (Held | undefined)[]

  /** @param blocks decoder blocks of the model */
  constructor(blocks: number) {
    if (!(Number.isInteger(blocks) && blocks >= 1)) {
      throw new OptionError(`key-value cache: needs a whole number of blocks from 1 on, got ${blocks}`)
    }
    this.blocks = Array.from({ length: blocks }, () => undefined)
  }

  /** Tokens that every block holds. */
  get length(): number {
    return Math.min(...this.blocks.map((held) => held?.keys.extent(2) ?? 0))
  }

  /** Bytes of all keys and values. */
  get bytes(): number {
    return this.blocks.reduce((sum, held) => sum + (held ? 4 * (held.keys.size + held.values.size) : 0), 0)
  }

  append(block: number, keys: Tensor, values: Tensor): Held {
    if (!(block in this.blocks)) {
      throw new OptionError(
        `key-value cache: block ${block} is past the last of ${this.blocks.length}; make a larger cache`,
      )
    }
    const held = this.blocks[block]
    return this.replace(block, () => ({
      keys: concat(held ? [held.keys, keys] : [keys], 2),
      values: concat(held ? [held.values, values] : [values], 2),
    }))
  }

  /** Forgets all tokens after the first `tokens`: after a forward that stopped half way, or to try another text. */
  truncate(tokens: number): void {
    for (const [block, held] of this.blocks.entries()) {
      if (!held || held.keys.extent(2) <= tokens) continue
      if (tokens > 0) {
        this.replace(block, () => ({
          keys: concat([held.keys.slice(2, 0, tokens)], 2),
          values: concat([held.values.slice(2, 0, tokens)], 2),
        }))
      } else {
        held.keys.dispose()
        held.values.dispose()
        this.blocks[block] = undefined
      }
    }
  }

  dispose(): void {
    this.truncate(0)
  }

  /** Puts new tensors in place of a block's former ones, which are freed. */
  private replace(block: number, make: () => Held): Held {
    const former = this.blocks[block]
    const next = scope(make)
    next.keys.adopt()
    next.values.adopt()
    this.blocks[block] = next
    former?.keys.dispose()
    former?.values.dispose()
    return next
  }
}
