/** What graphs of images share: pixel_values [batch, channels, height, width] in f32 -> logits [batch, classes] in f32. */
import { int, ints, type OnnxAttribute, type OnnxModel, string, value } from '../../formats/onnx/graph.ts'
import type { GraphBuilder } from './graph_builder.ts'

export interface ConvolutionNodes {
  /** Name of the weight. */
  readonly weight: string
  /** Name of the bias. @default none */
  readonly bias?: string
  /** @default 1 */
  readonly stride?: number
  /** @default 1 */
  readonly groups?: number
  /** Zeros on every side, or TensorFlow's padding, which has one more behind than before where it is odd. */
  readonly padding: number | 'same'
}

export function convolution(
  b: GraphBuilder,
  name: string,
  x: string,
  { weight, bias, stride = 1, groups = 1, padding }: ConvolutionNodes,
): string {
  const attributes: Record<string, OnnxAttribute> = {
    strides: ints([stride, stride]),
    group: int(groups),
    ...(padding === 'same'
      ? { auto_pad: string('SAME_UPPER') }
      : { pads: ints([padding, padding, padding, padding]) }),
  }
  const inputs = [x, b.weight(weight), ...(bias === undefined ? [] : [b.weight(bias)])]
  return b.add(name, 'Conv', inputs, attributes)
}

/** The mean of every channel, [batch, channels]. */
export const channelMeans = (b: GraphBuilder, name: string, x: string, channels: number): string =>
  b.reshape(name, b.add(`${name}/pooled`, 'GlobalAveragePool', [x]), [-1, channels])

/** Pixels to logits around what `network` builds between them, in the type of the activations. */
export function imageGraph(
  b: GraphBuilder,
  shape: readonly [channels: number, height: number | string, width: number | string],
  classes: number,
  network: (pixels: string) => string,
): OnnxModel {
  const logits = network(b.narrow('pixels', 'pixel_values'))
  b.add('logits', 'Cast', [logits], { to: int(1) })
  return b.model(
    'classifier',
    [value('pixel_values', 'F32', ['batch_size', ...shape])],
    [value('logits', 'F32', ['batch_size', classes])],
  )
}
