/** Compresses what earlier sittings of a run did not finish, and keeps every stage as soon as it is done. */
import { join } from 'node:path'
import type { Chains } from '../calibrate/walk.ts'
import { batchesOf } from '../models/batches.ts'
import type { MatrixCompression } from './matrix_compression.ts'
import type { RunFolder } from './run_folder.ts'
import { readInputs, writeInputs, writeShard } from './shards.ts'

export interface MissingStages {
  /** Of the model. */
  stages: number
  /** What the method is calibrated on. */
  samples: readonly Uint32Array[] | undefined
  /** Folder for activations that do not fit in memory. @default that of the work */
  scratch: string | undefined
  /** Bytes of activations that stay in memory. */
  activationBytes: number
  /** Seconds of work, over all sittings. */
  elapsed(): number
}

/** Each finished stage is a shard and a line in the journal, with the inputs of the next where a method needs these. */
export async function compressMissing(
  matrices: MatrixCompression,
  folder: RunFolder,
  { stages, samples, scratch, activationBytes, elapsed }: MissingStages,
): Promise<void> {
  const { work } = folder
  const inputs = folder.stages.at(-1)?.inputs
  await matrices.run(samples, {
    from: folder.stages.length,
    scratch: scratch ?? work,
    activationBytes,
    ...(samples && inputs
      ? {
          restore: (chains: Chains) =>
            readInputs(join(work, inputs.name), inputs, batchesOf(samples).length, chains),
        }
      : {}),
    finished: ({ index, name, tensors, layers, tuning, remarks }, chains) => {
      const number = String(index).padStart(4, '0')
      const shard = writeShard(join(work, `stage-${number}.safetensors`), tensors)
      const last = index + 1 === stages
      const next = chains && !last && writeInputs(join(work, `inputs-${number}.safetensors`), chains)
      folder.addStage({
        kind: 'stage',
        index,
        name,
        shard,
        ...(next ? { inputs: next } : {}),
        layers: layers.map((layer) => ({ ...layer, notes: [...layer.notes] })),
        ...(tuning ? { tuning } : {}),
        remarks: remarks.map(({ text, names }) => ({ text, names: [...names] })),
        seconds: elapsed(),
      })
    },
  })
}
