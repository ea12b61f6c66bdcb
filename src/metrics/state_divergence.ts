/**
 * How far a model is from another one with the same head, from their hidden states after the last stage.
 *
 *   KL   mean over tokens of sum_v p_source(v) (log p_source(v) - log p(v)), in nats
 */
import type { LanguageHead } from '../models/language_model.ts'
import { logSoftmax, scope, type Tensor } from '../tensor/index.ts'

/** Rows of logits that are made at a time: each is hundreds of kilobytes. */
const ROWS = 64

export interface Divergence {
  /** Mean over windows, in nats a token; below 0 only by rounding. */
  kl: number
  /** Of the mean over windows; absent for one window. */
  standardError?: number
}

/** KL of each variant, window by window, so that the logits of the source are made once for all of them. */
export class StateDivergence {
  private readonly sums: number[][]

  constructor(variants: number) {
    this.sums = Array.from({ length: variants }, () => [])
  }

  /** One more window. States are [tokens, hidden]; `variant` gives that of each, in the caller's scope. */
  add(head: LanguageHead, source: Tensor, variant: (index: number) => Tensor): void {
    const tokens = source.extent(0)
    for (const list of this.sums) list.push(0)
    for (let start = 0; start < tokens; start += ROWS) {
      const rows = (x: Tensor) => x.slice(0, start, Math.min(start + ROWS, tokens))
      scope(() => {
        const expected = logSoftmax(head.logits(rows(source)))
        const chances = expected.exp()
        for (const [index, list] of this.sums.entries())
          scope(() => {
            const own = logSoftmax(head.logits(rows(variant(index))))
            const perToken = chances.mul(expected.sub(own)).sum([-1]).toArray()
            for (const value of perToken) list[list.length - 1]! += Number(value) / tokens
          })
      })
    }
  }

  /** One for each variant. */
  results(): Divergence[] {
    return this.sums.map((means) => {
      const kl = means.reduce((sum, mean) => sum + mean, 0) / means.length
      if (means.length < 2) return { kl }
      const squares = means.reduce((sum, mean) => sum + (mean - kl) ** 2, 0)
      return { kl, standardError: Math.sqrt(squares / (means.length - 1) / means.length) }
    })
  }
}
