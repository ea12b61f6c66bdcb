/** Fully connected layers with ReLU in between. */
import { Linear } from '../../nn/linear.ts'
import { visit } from '../../nn/sites.ts'
import { denseSource } from '../../nn/weight_source.ts'
import { OptionError } from '../../tensor/errors.ts'
import { relu, scope } from '../../tensor/index.ts'
import type { WeightMaker } from '../weight_maker.ts'
import type { Classifier } from './network.ts'
import { checkWidths } from './widths.ts'

export interface MlpOptions {
  /** Widths from the inputs to the classes, such as [784, 300, 100, 10]. */
  widths: readonly number[]
}

const mostHidden = 1000

/** @throws OptionError for fewer than two widths, too many, and some that are no whole numbers from 1 on */
export function checkMlp({ widths }: MlpOptions): void {
  if (widths.length < 2)
    throw new OptionError(
      `mlp: widths need those of inputs and classes at least, got [${widths.join(', ')}]; give two or more`,
    )
  if (widths.length > mostHidden + 2)
    throw new OptionError(
      `mlp: at most ${mostHidden} hidden layers are made, got ${widths.length - 2}; take fewer`,
    )
  checkWidths('mlp', Object.fromEntries(widths.map((width, i) => [`widths[${i}]`, width])))
}

/**
 * x [batch, ..], flattened -> logits [batch, classes]; weights `fc1.weight`, `fc1.bias`, `fc2.weight`, ..
 *
 * @throws OptionError for shapes that cannot be, as `checkMlp` says
 * @example mlp({ widths: [64, 64, 10] }, freshWeights(parameters, { seed: 0 })).forward(x)
 */
export function mlp(options: MlpOptions, weights: WeightMaker): Classifier {
  checkMlp(options)
  const { widths } = options
  const layers = widths.slice(1).map((outputs, i) => {
    const [name, inputs] = [`fc${i + 1}`, widths[i]!]
    const weight = weights.weight(`${name}.weight`, [outputs, inputs], { kind: 'he', fanIn: inputs })
    const bias = weights.weight(`${name}.bias`, [outputs], { kind: 'constant', value: 0 })
    return new Linear(`${name}.weight`, denseSource(weight), bias)
  })
  const siteOf = (i: number) => (i + 1 < layers.length ? `fc${i + 1}/act` : 'logits')
  return {
    layers: new Map(layers.map((layer) => [layer.name, layer])),
    norms: [],
    sites: () => layers.map((_, i) => siteOf(i)),
    forward: (x, { at } = {}) =>
      scope(() => {
        let hidden = x.reshape([x.extent(0), widths[0]!])
        for (const [i, layer] of layers.entries()) {
          const y = layer.forward(hidden)
          hidden = visit(at, siteOf(i), i + 1 < layers.length ? relu(y) : y)
        }
        return hidden
      }),
  }
}
