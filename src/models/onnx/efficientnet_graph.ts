/**
 * EfficientNet-Lite as an ONNX graph over images of any size: pixel_values are (colour - mean) / deviation, as an image
 * processor with `image_mean` and `image_std` makes them.
 */
import type { OnnxModel } from '../../formats/onnx/graph.ts'
import { type EfficientNetConfig, isResidual } from '../efficientnet/config.ts'
import {
  blockNames,
  type ConvolutionName,
  classifierName,
  headName,
  stemName,
} from '../efficientnet/names.ts'
import type { GraphBuilder } from './graph_builder.ts'
import { channelMeans, convolution, imageGraph } from './image_nodes.ts'

/** Convolutions in the order of a forward. */
export function convolutionNames(config: EfficientNetConfig): ConvolutionName[] {
  const blocks = config.blocks.flatMap((_, index): ConvolutionName[] => {
    const { expand, depthwise, project } = blockNames(config, index)
    return [...(expand ? [expand] : []), depthwise, project]
  })
  return [stemName(config), ...blocks, headName(config)]
}

export function efficientNetGraph(config: EfficientNetConfig, b: GraphBuilder): OnnxModel {
  const folded = (name: string, x: string, { convolution: weight, norm, stride, groups }: ConvolutionName) =>
    convolution(b, name, x, {
      ...{ weight: `${weight}.weight`, bias: `${norm}.bias` },
      ...{ stride, groups, padding: 'same' },
    })
  const active = (name: string, x: string, layer: ConvolutionName) =>
    b.add(name, 'Clip', [folded(`${name}/conv`, x, layer), b.number(0), b.number(6)])
  return imageGraph(b, [3, 'height', 'width'], config.classes, (pixels) => {
    let x = active('stem', pixels, stemName(config))
    for (const [index, block] of config.blocks.entries()) {
      const { expand, depthwise, project } = blockNames(config, index)
      const at = (name: string) => `blocks.${index}/${name}`
      const wide = expand ? active(at('expand'), x, expand) : x
      const narrow = folded(at('project'), active(at('depthwise'), wide, depthwise), project)
      x = isResidual(block) ? b.add(at('output'), 'Add', [x, narrow]) : narrow
    }
    const features = channelMeans(b, 'features', active('head', x, headName(config)), config.features)
    return b.linear('classifier', features, `${classifierName}.weight`, `${classifierName}.bias`)
  })
}
