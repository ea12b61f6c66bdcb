/**
 * Pare's classifiers as ONNX graphs: pixel_values are (pixel - mean) / deviation of pixels between 0 and 1, as an image
 * processor with the config's `image_mean` and `image_std` makes them.
 */
import { ints, type OnnxModel } from '../../formats/onnx/graph.ts'
import type { ClassifierConfig, ClassifierShape } from '../classifiers/classifier_config.ts'
import type { GraphBuilder } from './graph_builder.ts'
import { channelMeans, convolution, imageGraph } from './image_nodes.ts'

type ShapeOf<Family> = ClassifierShape & { family: Family }

export function classifierGraph(config: ClassifierConfig, b: GraphBuilder): OnnxModel {
  const { shape, image, classes } = config
  const [height, width, channels] = image
  return imageGraph(b, [channels, height, width], classes.length, (pixels) => {
    switch (shape.family) {
      case 'resnet':
        return resnetNodes(shape, b, pixels)
      case 'lenet':
        return lenetNodes(shape, image, b, pixels)
      case 'mlp':
        return mlpNodes(shape, image, b, pixels)
    }
  })
}

const layer = (b: GraphBuilder, name: string, x: string): string =>
  b.linear(`${name}/product`, x, `${name}.weight`, `${name}.bias`)

const active = (b: GraphBuilder, name: string, x: string): string =>
  b.add(`${name}/act`, 'Relu', [layer(b, name, x)])

/** Pixels of all channels side by side, as Pare lays images out: [batch, height * width * channels]. */
const flat = (b: GraphBuilder, x: string, features: number): string =>
  b.reshape('flat', b.transpose('channels_last', x, [0, 2, 3, 1]), [-1, features])

function mlpNodes(
  { hidden }: ShapeOf<'mlp'>,
  image: ClassifierConfig['image'],
  b: GraphBuilder,
  pixels: string,
): string {
  let x = flat(
    b,
    pixels,
    image.reduce((product, n) => product * n, 1),
  )
  for (const i of hidden.keys()) x = active(b, `fc${i + 1}`, x)
  return layer(b, `fc${hidden.length + 1}`, x)
}

function lenetNodes(
  { convolutions }: ShapeOf<'lenet'>,
  [height, width]: ClassifierConfig['image'],
  b: GraphBuilder,
  pixels: string,
): string {
  const stage = (name: string, x: string) => {
    const y = convolution(b, name, x, { weight: `${name}.weight`, bias: `${name}.bias`, padding: 2 })
    const kernel = { kernel_shape: ints([2, 2]), strides: ints([2, 2]) }
    return b.add(`${name}/pooled`, 'MaxPool', [b.add(`${name}/act`, 'Relu', [y])], kernel)
  }
  const features = (height / 4) * (width / 4) * convolutions[1]
  return layer(b, 'fc2', active(b, 'fc1', flat(b, stage('conv2', stage('conv1', pixels)), features)))
}

/** Convolution to norm of a residual network, by their names without `.weight`. */
export function resnetNorms({ depth }: ShapeOf<'resnet'>): Map<string, string> {
  const blocks = blocksOf(depth).flatMap(({ name }): [string, string][] => [
    [`${name}.conv1`, `${name}.norm1`],
    [`${name}.conv2`, `${name}.norm2`],
  ])
  return new Map([['stem.conv', 'stem.norm'], ...blocks])
}

/** Blocks of the three stages, and whether one enters a stage of half the resolution. */
const blocksOf = (depth: number): { name: string; stage: number; enters: boolean }[] =>
  [0, 1, 2].flatMap((stage) =>
    Array.from({ length: (depth - 2) / 6 }, (_, block) => ({
      ...{ name: `stages.${stage}.${block}`, stage },
      enters: stage > 0 && block === 0,
    })),
  )

function resnetNodes(shape: ShapeOf<'resnet'>, b: GraphBuilder, pixels: string): string {
  const norms = resnetNorms(shape)
  const folded = (name: string, x: string, stride = 1) =>
    convolution(b, name, x, { weight: `${name}.weight`, bias: `${norms.get(name)}.bias`, stride, padding: 1 })
  let x = b.add('stem', 'Relu', [folded('stem.conv', pixels)])
  for (const { name, stage, enters } of blocksOf(shape.depth)) {
    const inner = b.add(`${name}/act1`, 'Relu', [folded(`${name}.conv1`, x, enters ? 2 : 1)])
    const shortcut = enters ? everySecond(b, `${name}/shortcut`, x, shape.width * 2 ** (stage - 1)) : x
    const sum = b.add(`${name}/sum`, 'Add', [folded(`${name}.conv2`, inner), shortcut])
    x = b.add(`${name}/output`, 'Relu', [sum])
  }
  return layer(b, 'head', channelMeans(b, 'pooled', x, 4 * shape.width))
}

/** Every second pixel, with as many channels of zeros behind those that are there. */
function everySecond(b: GraphBuilder, name: string, x: string, channels: number): string {
  const end = 2 ** 31 - 1
  const ends = [b.wholes([0, 0]), b.wholes([end, end]), b.wholes([2, 3]), b.wholes([2, 2])]
  const half = b.add(`${name}/half`, 'Slice', [x, ...ends])
  return b.add(name, 'Pad', [half, b.wholes([0, 0, 0, 0, 0, channels, 0, 0]), b.number(0)])
}
