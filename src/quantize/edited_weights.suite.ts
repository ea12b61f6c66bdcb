/** The weights of a model with edits done to them, in memory. */
import { memoryWeights } from '../models/memory_weights.ts'
import type { ModelWeights } from '../models/model_weights.ts'
import type { TensorEdit, TensorEdits } from '../models/tensor_edits.ts'
import { maximum, minimum, scope, type Tensor, tensor } from '../tensor/index.ts'

/** The caller's scope owns them. */
export const editedWeights = (weights: ModelWeights, edits: TensorEdits): ModelWeights =>
  memoryWeights(
    new Map(
      [...weights.infos.keys()].map((name) => [name, edited(weights.load(name), edits.get(name) ?? [])]),
    ),
  )

/** In f64, then back in the type of x. */
export const edited = (x: Tensor, edits: readonly TensorEdit[]): Tensor =>
  scope(() => edits.reduce(once, x.cast('f64')).cast(x.dtype))

function once(x: Tensor, edit: TensorEdit): Tensor {
  const rows = x.extent(0)
  switch (edit.kind) {
    case 'scaleRows':
      return x.mul(tensor(edit.by, x.rank === 1 ? [rows] : [rows, 1], 'f64'))
    case 'scaleColumns':
      return x.mul(tensor(edit.by, [1, x.extent(1)], 'f64'))
    case 'clamp': {
      const bound = tensor(Float64Array.from(wide(x.shape as [number, number], edit)), x.shape, 'f64')
      return maximum(minimum(x, bound), bound.neg())
    }
    default:
      throw new Error(`no test makes ${edit.kind}`)
  }
}

/** The bound of every weight. */
function* wide(
  [rows, columns]: readonly [number, number],
  { bounds, groupSize }: { bounds: Float32Array; groupSize: number },
): Iterable<number> {
  const groups = Math.ceil(columns / groupSize)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      yield bounds[row * groups + Math.floor(column / groupSize)]!
}
