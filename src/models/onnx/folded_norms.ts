/** Weights of convolutions as ONNX has them, [out, in, height, width], with the batch norm behind each folded in. */
import { foldNorm } from '../../nn/batch_norm_folding.ts'
import { OptionError } from '../../tensor/errors.ts'
import { indexSelect, scope, type Tensor, tensor } from '../../tensor/index.ts'
import type { ModelWeights } from '../model_weights.ts'

/** What the graph has otherwise than the model. */
export interface ArrangedWeights {
  shape(name: string): readonly number[]
  /** All of a weight as the graph has it. */
  values(name: string, values: Tensor): Tensor
  /** Weights that are inside of others. */
  readonly absorbed: ReadonlySet<string>
  /** How many weights have another one inside. */
  readonly norms: number
}

export interface FoldedNorms {
  /** Name of a convolution's weight to that of its norm without `.weight`. */
  readonly norms: ReadonlyMap<string, string>
  readonly epsilon: number
  /** Inputs are the last axis of the model's convolutions, as Pare trains them; PyTorch has them second. */
  readonly inputsLast: boolean
}

/** The weight of each convolution is scaled, and the bias of its norm becomes that of both. */
export function foldedNorms(
  weights: ModelWeights,
  { norms, epsilon, inputsLast }: FoldedNorms,
): ArrangedWeights {
  const byBias = new Map([...norms.values()].map((norm) => [`${norm}.bias`, norm]))
  const fold = (weight: Tensor, norm: string) =>
    foldNorm(
      weight,
      undefined,
      {
        weight: weights.load(`${norm}.weight`),
        bias: weights.load(`${norm}.bias`),
        mean: weights.load(`${norm}.running_mean`),
        variance: weights.load(`${norm}.running_var`),
      },
      epsilon,
    )
  const shapeOf = (name: string) => weights.infos.get(name)!.shape
  return {
    norms: norms.size,
    absorbed: new Set(
      [...norms.values()].flatMap((norm) =>
        ['weight', 'running_mean', 'running_var', 'num_batches_tracked'].map((part) => `${norm}.${part}`),
      ),
    ),
    shape(name) {
      const shape = shapeOf(name)
      if (!inputsLast || shape.length !== 4) return shape
      const [out, height, width, inputs] = shape as [number, number, number, number]
      return [out, inputs, height, width]
    },
    values(name, values) {
      const [own, ofBias] = [norms.get(name), byBias.get(name)]
      if ((own ?? ofBias) !== undefined && values.extent(0) !== shapeOf(name)[0])
        throw new OptionError(`${name}: is folded as a whole, got ${values.extent(0)} of its rows; give all`)
      return scope(() => {
        const turned = inputsLast && values.rank === 4 ? values.permute([0, 3, 1, 2]) : values
        if (own !== undefined) return fold(turned, own).weight
        return ofBias === undefined ? turned.contiguous() : fold(values, ofBias).bias
      })
    },
  }
}

/** Reads weights as the graph has them, as if they stood in a file so; `weights` stays open below. */
export function arrangedWeights(weights: ModelWeights, arranged: ArrangedWeights): ModelWeights {
  const infos = new Map(
    [...weights.infos.values()].flatMap((info) =>
      arranged.absorbed.has(info.name) ? [] : [[info.name, { ...info, shape: arranged.shape(info.name) }]],
    ),
  )
  const load = (name: string) => scope(() => arranged.values(name, weights.load(name)))
  return {
    infos,
    fileBytes: weights.fileBytes,
    load,
    rows: (name, ids) => scope(() => indexSelect(load(name), 0, tensor(ids, [ids.length], 'u32'))),
    slice: (name, start, end) => scope(() => load(name).slice(0, start, end).contiguous()),
    close: () => weights.close(),
  }
}
