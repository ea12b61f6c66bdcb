/** Tensor names of EfficientNet-Lite as PyTorch files have them, and the shapes there: [out, in / groups, height, width]. */
import type { EfficientNetConfig } from './config.ts'

export const normParts = ['weight', 'bias', 'running_mean', 'running_var'] as const
export type NormPart = (typeof normParts)[number]

/** A convolution and the batch norm behind it, by their names without `.weight`. */
export interface ConvolutionName {
  convolution: string
  norm: string
  shape: readonly [out: number, perGroup: number, height: number, width: number]
  stride: number
  groups: number
}

export const classifierName = '_fc'

/** The first convolution. */
export const stemName = ({ stem: { outputs, kernel, stride } }: EfficientNetConfig): ConvolutionName => ({
  convolution: '_conv_stem',
  norm: '_bn0',
  shape: [outputs, 3, kernel, kernel],
  stride,
  groups: 1,
})

/** The last convolution. */
export const headName = ({ blocks, features }: EfficientNetConfig): ConvolutionName => ({
  convolution: '_conv_head',
  norm: '_bn1',
  shape: [features, blocks.at(-1)!.outputs, 1, 1],
  stride: 1,
  groups: 1,
})

/** The convolutions of a block: widening where there is one, each channel by itself, narrowing. */
export function blockNames(config: EfficientNetConfig, index: number) {
  const { inputs, outputs, kernel, stride, expansion } = config.blocks[index]!
  const inner = inputs * expansion
  const name = (
    convolution: string,
    norm: string,
    shape: ConvolutionName['shape'],
    more = {},
  ): ConvolutionName => ({
    convolution: `_blocks.${index}.${convolution}`,
    norm: `_blocks.${index}.${norm}`,
    shape,
    stride: 1,
    groups: 1,
    ...more,
  })
  return {
    ...(expansion === 1 ? {} : { expand: name('_expand_conv', '_bn0', [inner, inputs, 1, 1]) }),
    depthwise: name('_depthwise_conv', '_bn1', [inner, 1, kernel, kernel], { stride, groups: inner }),
    project: name('_project_conv', '_bn2', [outputs, inner, 1, 1]),
  }
}

/** Every tensor that the model needs, with its shape in the file. */
export function promisedShapes(config: EfficientNetConfig): Map<string, readonly number[]> {
  const blocks = config.blocks.flatMap((_, index): ConvolutionName[] => {
    const { expand, depthwise, project } = blockNames(config, index)
    return [...(expand ? [expand] : []), depthwise, project]
  })
  const shapes = new Map<string, readonly number[]>()
  for (const { convolution, norm, shape } of [stemName(config), ...blocks, headName(config)]) {
    shapes.set(`${convolution}.weight`, shape)
    for (const part of normParts) shapes.set(`${norm}.${part}`, [shape[0]])
  }
  shapes.set(`${classifierName}.weight`, [config.classes, config.features])
  shapes.set(`${classifierName}.bias`, [config.classes])
  return shapes
}
