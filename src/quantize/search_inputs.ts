/**
 * The inputs of a stage's weights that a search computes with: some tokens of all samples, and for modules that see tokens
 * beside each other some whole samples. They lie in an `ActivationSet`, so that they may go to a file.
 */

import { type ActivationOptions, ActivationSet } from '../models/activations.ts'
import type { SequenceBatch } from '../models/batches.ts'
import { concat, randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'

/** Tokens that run through a module at once. */
const rowsAtOnce = 2048

export interface SearchInputOptions extends ActivationOptions {
  /** Tokens, about. */
  tokens: number
  seed: number
}

export class SearchInputs {
  /** Tokens of the picked ones, and of the picked samples. */
  readonly tokens: number
  private readonly batches: readonly SequenceBatch[]
  private readonly set: ActivationSet
  /** Of each batch: rows that were picked, and samples. */
  private readonly rows: Uint32Array[]
  private readonly samples: Uint32Array[]

  constructor(batches: readonly SequenceBatch[], { tokens, seed, ...options }: SearchInputOptions) {
    this.batches = batches
    this.set = new ActivationSet(options)
    const counts = batches.map(({ count }) => count)
    const sizes = batches.map(({ count, tokens: length }) => count * length)
    const [samples, all] = [sum(counts), sum(sizes)]
    this.tokens = Math.min(tokens, all)
    const picked = Math.max(1, Math.round((this.tokens * samples) / all))
    this.rows = dealt(spread(all, this.tokens, seed, 'tokens'), sizes)
    this.samples = dealt(spread(samples, picked, seed, 'samples'), counts)
  }

  /** Keeps what is picked of the input x [samples, tokens, in] of a segment. */
  add(batch: number, segment: number, x: Tensor, whole: boolean): void {
    scope(() => {
      const flat = x.reshape([x.size / x.extent(-1), x.extent(-1)])
      const rows = this.rows[batch]!
      if (rows.length > 0) this.set.write(batch, `rows ${segment}`, flat.indexSelect(0, ids(rows)))
      const samples = this.samples[batch]!
      if (whole && samples.length > 0)
        this.set.write(batch, `samples ${segment}`, x.indexSelect(0, ids(samples)))
    })
  }

  /** Rows [tokens, in] of a segment, in the order of the text. The caller's scope owns them. */
  picked(segment: number): Tensor {
    return concat(this.parts(`rows ${segment}`), 0)
  }

  /** The picked tokens in parts [.., in] that run at once. The caller's scope owns them. */
  pieces(segment: number): Tensor[] {
    const all = this.picked(segment)
    return Array.from({ length: Math.ceil(this.tokens / rowsAtOnce) }, (_, i) =>
      all.slice(0, i * rowsAtOnce, Math.min(this.tokens, (i + 1) * rowsAtOnce)),
    )
  }

  /** The picked samples, [samples, tokens, in] of each batch that has some. The caller's scope owns them. */
  whole(segment: number): Tensor[] {
    return this.parts(`samples ${segment}`)
  }

  private parts(name: string): Tensor[] {
    return this.batches.flatMap((_, batch) => (this.set.has(batch, name) ? [this.set.read(batch, name)] : []))
  }

  close(): void {
    this.set.close()
  }
}

/** `count` of the numbers 0 to n - 1 in rising order: one at random from each of as many equal parts. */
export function spread(n: number, count: number, seed: number, name: string): Uint32Array {
  const places = scope(() =>
    randomStream(seed, `awq ${name}`).uniform([count], 'f64').toArray(),
  ) as Float64Array
  return Uint32Array.from(places, (place, i) => {
    const [start, end] = [Math.floor((i * n) / count), Math.floor(((i + 1) * n) / count)]
    return start + Math.floor(place * (end - start))
  })
}

/** Numbers in rising order, dealt to neighbouring ranges of these sizes; counted from the beginning of each. */
function dealt(numbers: Uint32Array, sizes: readonly number[]): Uint32Array[] {
  let [start, next] = [0, 0]
  return sizes.map((size) => {
    const first = next
    while (next < numbers.length && numbers[next]! < start + size) next++
    const own = numbers.slice(first, next).map((number) => number - start)
    start += size
    return own
  })
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)
const ids = (numbers: Uint32Array): Tensor => tensor(numbers, [numbers.length], 'u32')
