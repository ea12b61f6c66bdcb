/**
 * Running statistics taken anew, as the mean over batches: what a network needs after its weights were changed without
 * training, or averaged (Izmailov et al. 2018, arXiv:1803.05407, section 3.2).
 */
import { OptionError } from '../tensor/errors.ts'
import { unrecorded } from '../tensor/index.ts'
import type { BatchNorm } from './batch_norm.ts'

/**
 * Resets the running statistics of these norms, and sets them to the mean over all batches that `run` sends through the
 * network, which must use them in the mode `batch`. Momenta are as before afterwards; nothing is recorded.
 *
 * @throws OptionError where a norm saw no batch; its statistics are then those of no data
 * @example estimateStatistics(norms, () => { for (const x of batches) scope(() => net.forward(x, { training: true })) })
 */
export function estimateStatistics(norms: readonly BatchNorm[], run: () => void): void {
  const momenta = norms.map(({ momentum }) => momentum)
  try {
    for (const norm of norms) {
      norm.momentum = 'cumulative'
      norm.resetStatistics()
    }
    unrecorded(run)
  } finally {
    for (const [i, norm] of norms.entries()) norm.momentum = momenta[i]!
  }
  const unseen = norms.findIndex(({ batchesSeen }) => batchesSeen === 0)
  if (unseen >= 0)
    throw new OptionError(
      `batch norm ${unseen}: saw no batch; run the network in training mode on at least one batch`,
      { code: 'PARE_E_NO_BATCH', facts: { norm: unseen } },
    )
}
