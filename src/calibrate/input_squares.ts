/** Sums of the squares of inputs: the diagonal of their Gram matrix, without the rest of it. */
import { scope, type Tensor } from '../tensor/index.ts'
import type { Statistics } from './statistics.ts'

export class InputSquares {
  /** Of each input, in f64; those of one call are added in f32. */
  readonly sums: Float64Array
  /** Tokens that were seen. */
  rows = 0

  constructor(inputs: number) {
    this.sums = new Float64Array(inputs)
  }

  /** x [.., in] */
  add(x: Tensor): void {
    const inputs = this.sums.length
    const rows = x.size / inputs
    const added = scope(() => {
      const flat = x.reshape([rows, inputs])
      return flat.mul(flat).sum([0]).toArray()
    })
    this.sums.forEach((sum, i) => {
      this.sums[i] = sum + Number(added[i])
    })
    this.rows += rows
  }
  /** The sums without a copy. */
  current(): Statistics {
    return { squares: this.sums, rows: this.rows }
  }
}
