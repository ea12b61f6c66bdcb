/**
 * How far variants of a model are from it, from their hidden states after the last stage; all have the same head.
 *
 *   KL   mean over tokens of sum_v p_source(v) (log p_source(v) - log p(v)), in nats
 */
import { evenBlocks } from '../models/even_blocks.ts'
import type { LanguageHead } from '../models/language_model.ts'
import { logSoftmax, scope, type Tensor } from '../tensor/index.ts'

export interface Divergence {
  /** Mean over windows, in nats a token; below 0 only by rounding. */
  kl: number
  /** Of the mean over windows; absent for one window. */
  standardError?: number
}

/** Bytes of logits that are made at a time, where that is no fewer than the least of rows. */
const LOGIT_BYTES = 2 ** 26
/** So many rows repay one reading of the head; fewer than the least would not. */
const [LEAST_ROWS, MOST_ROWS] = [32, 256]
/** Rows that are compared at a time, since each takes several tensors of its size. */
export const PART_ROWS = 32

/** Rows of logits that are made at a time, `most` or fewer: one for each token. */
export const comparedRows = (vocabulary: number, most: number = MOST_ROWS): number =>
  Math.min(most, Math.max(LEAST_ROWS, Math.floor(LOGIT_BYTES / (4 * vocabulary))))

/** Sums of each variant, batch by batch, so that the logits of the source are made once for all of them. */
export class StateDivergence {
  private readonly rows: number
  /** Of each variant, the mean of each window. */
  private readonly means: number[][]

  /** @param options.rows of logits in memory at a time, at most; the figures do not depend on it. @default 256 */
  constructor({ variants, vocabulary, rows }: { variants: number; vocabulary: number; rows?: number }) {
    this.rows = comparedRows(vocabulary, rows)
    this.means = Array.from({ length: variants }, () => [])
  }

  /** More windows. States are [windows, tokens, hidden]; `variant` gives that of each, in the caller's scope. */
  add(head: LanguageHead, source: Tensor, variant: (index: number) => Tensor): void {
    const [windows, tokens, hidden] = source.shape as readonly number[] as [number, number, number]
    const first = this.means[0]?.length ?? 0
    for (const list of this.means) list.push(...Array<number>(windows).fill(0))
    const total = windows * tokens
    for (const [start, end] of evenBlocks(total, this.rows)) {
      const logits = (x: Tensor) => head.logits(x.reshape([total, hidden]).slice(0, start, end))
      scope(() => {
        const expected = scope(() => logSoftmax(logits(source)))
        const chances = expected.exp()
        for (const [index, list] of this.means.entries())
          scope(() => {
            const own = logits(variant(index))
            for (let row = 0; row < end - start; row += PART_ROWS)
              scope(() => {
                const part = (x: Tensor) => x.slice(0, row, Math.min(row + PART_ROWS, end - start))
                const lost = part(expected).sub(logSoftmax(part(own)))
                for (const [i, kl] of part(chances).mul(lost).sum([-1]).toArray().entries())
                  list[first + Math.floor((start + row + i) / tokens)]! += Number(kl) / tokens
              })
          })
      })
    }
  }

  /** One for each variant. */
  results(): Divergence[] {
    return this.means.map((means) => {
      const kl = means.reduce((sum, mean) => sum + mean, 0) / means.length
      if (means.length < 2) return { kl }
      const squares = means.reduce((sum, mean) => sum + (mean - kl) ** 2, 0)
      return { kl, standardError: Math.sqrt(squares / (means.length - 1) / means.length) }
    })
  }
}
