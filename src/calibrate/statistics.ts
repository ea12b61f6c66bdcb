/** What is gathered about the inputs of weights while activations pass. Weights with one input share one entry. */
import { State, type Tensor } from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'

/** Statistics of one input. */
export interface Statistics {
  /** Sum of x^T x over all tokens, f64 [in, in]. */
  readonly gram?: Tensor
  /** Sum of x^2 of each input over all tokens, [in]: the diagonal of the Gram matrix. */
  readonly squares?: Float64Array
  /** Rows (tokens) that were seen. */
  readonly rows: number
}

/** Sums of x^T x in f64; the products of up to 2048 rows at a time are f32. */
export class GramStatistic implements ResourceHolder {
  private readonly state: State
  rows = 0

  constructor(name: string, inputs: number) {
    this.state = new State(name, [inputs, inputs], 'f64')
  }

  /** x [.., in] */
  add(x: Tensor): void {
    this.state.addGram(x)
    this.rows += x.size / x.extent(-1)
  }

  /** The sums without a copy: what is added later shows in the tensor too. */
  current(): Statistics {
    return { gram: this.state.rows(0, this.state.shape[0]!), rows: this.rows }
  }

  /** The sums so far. The caller's scope owns the tensor. */
  value(): Statistics {
    return { gram: this.state.value(), rows: this.rows }
  }

  dispose(): void {
    this.state.dispose()
  }

  resources(): Iterable<unknown> {
    return []
  }
}

/** Sum of x^2 of each input, from the sums of x^T x. */
export function squaresOf(gram: Tensor): Float64Array {
  const n = gram.extent(0)
  return gram
    .reshape([n * n])
    .slice(0, 0, n * n, n + 1)
    .toArray() as Float64Array
}
