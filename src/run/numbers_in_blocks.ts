/** Weights that are stored as numbers, or as the source has them, written some rows at a time. */
import type { ModelWeights } from '../models/model_weights.ts'
import { rowRanges } from '../models/row_ranges.ts'
import type { EncodedTensor, ModelWriter, TargetPlan } from '../models/write/model_writer.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { scope } from '../tensor/index.ts'

/** Bytes of a block in f32: enough for the kernels, little beside an embedding. */
export const blockBytes = 16 * 2 ** 20

/**
 * Encodes a weight that no method compresses and hands it to the writer. Each row is encoded for itself, so that the
 * bytes are those of the whole.
 *
 * @param most bytes of a block in f32
 */
export function writeInBlocks(
  target: TargetPlan,
  plan: TensorPlan,
  weights: ModelWeights,
  writer: Pick<ModelWriter, 'append'>,
  most: number = blockBytes,
): void {
  const missing = new Map(target.stored(plan).map(({ name, bytes }) => [name, bytes]))
  const append = ({ name, bytes }: EncodedTensor) => {
    // What is said of columns is the same in every block, and complete with the first one.
    const left = missing.get(name)
    if (left === 0) return
    writer.append(name, bytes)
    missing.set(name, (left ?? 0) - bytes.length)
  }
  const [rows, columns] = plan.shape as [number, number?]
  const ranges = rowRanges(rows, 4 * (columns ?? 1), most)
  // Weights of more axes are small, and are written as a whole as vectors are.
  if (plan.shape.length !== 2 || ranges.length <= 1) {
    const encoded = plan.kept
      ? target.encodeKept(plan, weights.raw!(plan.name))
      : scope(() => target.encodeNumbers(plan, weights.load(plan.name)))
    encoded.forEach(append)
    return
  }
  for (const { start, end } of ranges) {
    const encoded = plan.kept
      ? target.encodeKept(plan, weights.raw!(plan.name, { start, end }))
      : scope(() => target.encodeNumbers(plan, weights.slice(plan.name, start, end)))
    encoded.forEach(append)
  }
}
