/**
 * Gram matrices of the inputs of every convolution and linear layer of a network, from one pass over samples. All layers see
 * the activations of the network as it is: give the dense one.
 *
 *   G = sum over samples and positions of x^T x,   H = 2/n G,  n samples           arXiv:2208.11580, section 3
 *
 * A convolution is the matrix of its windows, channels last; one in groups has a Gram matrix for each group of channels, on
 * which the rows of the weight that belong to the group depend alone.
 */
import { FoldedConvolution } from '../models/efficientnet/block.ts'
import type { ResidentEfficientNet } from '../models/efficientnet/efficientnet.ts'
import { classifierName } from '../models/efficientnet/names.ts'
import { Convolution } from '../nn/convolution.ts'
import { Linear } from '../nn/linear.ts'
import { denseSource } from '../nn/weight_source.ts'
import { OptionError } from '../tensor/errors.ts'
import { concat, State, samePadding, scope, type Tensor, unfold, unrecorded } from '../tensor/index.ts'
import type { LayerEdit, LayerMethod } from './method.ts'
import type { Statistics } from './statistics.ts'

export type ObservedLayer = Linear | Convolution | FoldedConvolution

export interface LayerGrams {
  readonly name: string
  /** The weight of the network, [out, inputs of a window]. */
  readonly weight: Tensor
  /** For each group of channels. The rows of the weight are dealt to the groups in order. */
  readonly groups: readonly (Statistics & { readonly gram: Tensor })[]
  /** Images or sequences that were seen. */
  readonly samples: number
  /** Positions of each sample: how often a weight is used. */
  readonly uses: number
}

/** The layers of an EfficientNet in the order of a forward; its classifier reads the site `features`. */
export function efficientNetLayers({ parts }: ResidentEfficientNet): {
  layers: Map<string, FoldedConvolution>
  classifier: Linear
} {
  const folded = [
    parts.stem,
    ...parts.blocks.flatMap(({ convolutions: { expand, depthwise, project } }) =>
      expand ? [expand, depthwise, project] : [depthwise, project],
    ),
    parts.head,
  ]
  const { weight, bias } = parts.classifier
  return {
    layers: new Map(folded.map((layer) => [layer.name, layer])),
    classifier: new Linear(`${classifierName}.weight`, denseSource(weight), bias),
  }
}

/**
 * Gathers while `run` sends batches through the network. The first axis of what goes into a layer is that of the samples.
 * The caller's scope owns the result.
 *
 * @throws OptionError for a layer that `run` never reached
 * @example layerGrams(network.layers, () => { for (const x of batches) scope(() => network.forward(x)) })
 */
export function layerGrams<Layer extends ObservedLayer>(
  layers: ReadonlyMap<string, Layer>,
  run: (see: (name: string, x: Tensor) => void) => void,
): Map<string, LayerGrams> {
  const gatherers = new Map([...layers].map(([name, layer]) => [name, new Gatherer(layer)]))
  const see = (name: string, x: Tensor) => gatherers.get(name)?.add(x)
  try {
    for (const [name, layer] of layers) {
      const forward = layer.forward.bind(layer)
      // An own property hides the method of the class until it is deleted.
      layer.forward = (x: Tensor) => {
        see(name, x)
        return forward(x)
      }
    }
    unrecorded(() => run(see))
    return new Map([...gatherers].map(([name, gatherer]) => [name, gatherer.value(name)]))
  } finally {
    for (const layer of layers.values()) delete (layer as Partial<Layer>).forward
    for (const gatherer of gatherers.values()) gatherer.dispose()
  }
}

class Gatherer {
  private readonly layer: ObservedLayer
  private readonly states: State[] = []
  private rows = 0
  private samples = 0

  constructor(layer: ObservedLayer) {
    this.layer = layer
  }

  add(x: Tensor): void {
    scope(() => {
      const samples = x.extent(0)
      // One image at a time, since unfolding makes it as many times larger as a window has taps.
      for (let i = 0; i < samples; i++) {
        const columns = columnsOf(this.layer, x.slice(0, i, i + 1)) // [groups, positions, inputs]
        const [groups, positions, inputs] = columns.shape as [number, number, number]
        for (let group = 0; group < groups; group++) {
          const state = this.states[group] ?? new State(`gram ${group}`, [inputs, inputs], 'f64')
          this.states[group] = state
          state.addGram(columns.select(0, group))
        }
        this.rows += positions
      }
      this.samples += samples
    })
  }

  value(name: string): LayerGrams {
    const { rows, samples, states, layer } = this
    if (samples === 0)
      throw new OptionError(`${name}: no sample reached this layer; run the network that it is in`)
    const groups = states.map((state) => ({ gram: state.value(), rows }))
    const weight =
      layer instanceof FoldedConvolution
        ? layer.weight.reshape([layer.weight.extent(0), layer.weight.size / layer.weight.extent(0)])
        : layer.source.dense()
    return { name, weight, groups, samples, uses: rows / samples }
  }

  dispose(): void {
    for (const state of this.states) state.dispose()
  }
}

/** What each position multiplies, [groups, positions, inputs of a window]. */
function columnsOf(layer: ObservedLayer, x: Tensor): Tensor {
  if (layer instanceof Linear) return x.reshape([1, x.size / x.extent(-1), x.extent(-1)])
  if (layer instanceof Convolution) {
    const { kernel, ...options } = layer.geometry
    return unfold(x, kernel, options)
  }
  const { weight, stride, groups } = layer
  const [height, width] = [weight.extent(1), weight.extent(2)]
  const [top, bottom] = samePadding(x.extent(1), height, stride)
  const [left, right] = samePadding(x.extent(2), width, stride)
  return unfold(x, [height, width], { stride, groups, padding: [top, bottom, left, right] })
}

/**
 * A method on a layer, group by group: the decoded weight [out, inputs of a window], and the notes of all groups.
 *
 * @param grid for methods that round @throws OptionError where the rows cannot be dealt to the groups, and what the method throws
 */
export function compressGroups(
  method: LayerMethod,
  { name, weight, groups }: LayerGrams,
  grid?: Parameters<LayerMethod['compress']>[0]['grid'],
): { decoded: Tensor; edits: LayerEdit[] } {
  const rows = weight.extent(0) / groups.length
  if (!Number.isInteger(rows))
    throw new OptionError(
      `${name}: ${weight.extent(0)} outputs do not fit ${groups.length} groups of channels`,
    )
  const edits = groups.map((statistics, i) => {
    const dense = weight.slice(0, i * rows, (i + 1) * rows).contiguous()
    const label = groups.length > 1 ? `${name}, group ${i}` : name
    return method.compress({ name: label, dense, current: dense, statistics, grid })
  })
  const decoded = scope(() => {
    const parts = edits.map((edit) => edit.decoded ?? edit.source.dense())
    return parts.length === 1 ? parts[0]! : concat(parts, 0)
  })
  return { decoded, edits }
}
