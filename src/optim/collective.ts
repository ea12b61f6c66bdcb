/** What workers of one training tell each other. One worker alone is the simplest case; the bytes are counted there too. */
import type { Tensor } from '../tensor/index.ts'

export interface Collective {
  /** Workers. */
  readonly size: number
  readonly rank: number
  /** The mean over all workers, for each path. What comes back may be what went in. */
  allReduce(gradients: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor>
  /** Bytes that this worker has sent. */
  readonly sentBytes: number
}

/** One worker. */
export const alone: Collective = {
  size: 1,
  rank: 0,
  allReduce: (gradients) => gradients,
  sentBytes: 0,
}
