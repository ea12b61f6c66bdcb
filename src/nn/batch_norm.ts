/**
 * Batch norm (Ioffe and Szegedy 2015, arXiv:1502.03167) over the channels of x [.., channels], with running statistics
 * that follow those of the batches:
 *
 *   y = (x - mean) / sqrt(variance + epsilon) * weight + bias
 *   running <- running + momentum (statistic - running), the variance with n / (n - 1)
 */
import {
  batchNorm,
  batchNormWith,
  elementCount,
  fullLike,
  isRecomputing,
  type NormEnding,
  type State,
  scope,
  type Tensor,
  unrecorded,
  zerosLike,
} from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'

export interface BatchNormWeights {
  /** [channels] */
  weight?: Tensor | undefined
  /** [channels] */
  bias?: Tensor | undefined
  /** [channels], of the number type of x. */
  runningMean: State
  runningVariance: State
}

export interface BatchNormOptions {
  /** @default 1e-5 */
  epsilon?: number
  /**
   * Share of the way that running statistics go towards those of a batch, in [0, 1]; 0 leaves them alone. `cumulative`
   * makes them the mean over all batches since `resetStatistics`. @default 0.1
   */
  momentum?: number | 'cumulative'
}

/**
 * Whose statistics are taken: those of the batch, which the running ones then follow, or the running ones. Frozen layers
 * of a network in training are given `running`.
 */
export type BatchNormMode = 'batch' | 'running'

export class BatchNorm implements ResourceHolder {
  readonly weights: BatchNormWeights
  readonly epsilon: number
  momentum: number | 'cumulative'
  private batches = 0

  constructor(weights: BatchNormWeights, { epsilon = 1e-5, momentum = 0.1 }: BatchNormOptions = {}) {
    this.weights = weights
    this.epsilon = epsilon
    this.momentum = momentum
  }

  /** x [.., channels]; `ending` is what follows in the same pass. */
  forward(x: Tensor, mode: BatchNormMode, ending: NormEnding = {}): Tensor {
    const { weight, bias, runningMean, runningVariance } = this.weights
    if (mode === 'running') {
      const statistics = { mean: runningMean.tensor(), variance: runningVariance.tensor() }
      return batchNormWith(x, weight, bias, statistics, this.epsilon, ending)
    }
    return scope(() => {
      const { output, mean, variance } = batchNorm(x, weight, bias, this.epsilon, ending)
      if (!isRecomputing()) unrecorded(() => this.follow(mean, variance, elementCount(x.shape.slice(0, -1))))
      return output
    })
  }

  /** Batches whose statistics the running ones followed since they were reset. */
  get batchesSeen(): number {
    return this.batches
  }

  /** As before the first batch: means 0, variances 1, whatever they were, NaN too. */
  resetStatistics(): void {
    const { runningMean, runningVariance } = this.weights
    this.batches = 0
    scope(() => {
      runningMean.assign(zerosLike(runningMean.tensor()))
      runningVariance.assign(fullLike(runningVariance.tensor(), 1))
    })
  }

  resources(): Iterable<unknown> {
    return Object.values(this.weights)
  }

  private follow(mean: Tensor, variance: Tensor, rows: number): void {
    if (this.momentum === 0) return
    this.batches++
    const share = this.momentum === 'cumulative' ? 1 / this.batches : this.momentum
    const { runningMean, runningVariance } = this.weights
    runningMean.lerp(mean, share)
    // Of one row there is no estimate; the biased one stands in, as 0.
    runningVariance.lerp(rows > 1 ? variance.mul(rows / (rows - 1)) : variance, share)
  }
}
