/** How large the inputs of a weight are: of each channel the mean and the largest absolute value over all tokens. */
import { NumericalError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'

export class InputMagnitudes {
  /** Sums of |x| of each input, in f64; those of one call are added in the type of x. */
  readonly sums: Float64Array
  /** Largest |x| of each input. */
  readonly largest: Float64Array
  /** Tokens that were seen. */
  rows = 0

  constructor(inputs: number) {
    this.sums = new Float64Array(inputs)
    this.largest = new Float64Array(inputs)
  }

  /** x [.., in] */
  add(x: Tensor): void {
    const inputs = this.sums.length
    const rows = x.size / inputs
    const [added, largest] = scope(() => {
      const sizes = x.reshape([rows, inputs]).abs()
      return [sizes.sum([0]).toArray(), sizes.max([0]).toArray()]
    }) as [ArrayLike<number>, ArrayLike<number>]
    for (let i = 0; i < inputs; i++) {
      this.sums[i]! += added[i]!
      this.largest[i] = Math.max(this.largest[i]!, largest[i]!)
    }
    this.rows += rows
  }

  /** Mean |x| of each input. */
  means(): Float64Array {
    return this.sums.map((sum) => sum / this.rows)
  }

  /** Inputs that are always 0. */
  dead(): number {
    return this.largest.reduce((count, value) => count + (value === 0 ? 1 : 0), 0)
  }

  /** @throws NumericalError where an input is not finite @param name of the weight */
  checkFinite(name: string): void {
    const at = this.sums.findIndex((sum) => !Number.isFinite(sum))
    if (at < 0) return
    throw new NumericalError(
      `${name}: input ${at} is ${this.sums[at]} on the calibration text, and scales need finite inputs; check that the model computes finite values`,
      { code: 'PARE_E_NOT_FINITE', facts: { weight: name, input: at } },
    )
  }
}
