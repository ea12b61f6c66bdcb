/**
 * EfficientNet-Lite (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite; Tan and Le,
 * arXiv 1905.11946, without squeeze and excitation, with ReLU6 in place of swish). Convolutions have no bias and are
 * followed by a batch norm; their padding is TensorFlow's SAME, which may be one more behind than before.
 */

/** An inverted residual block: widen by `expansion`, filter every channel, narrow. */
export interface InvertedBlock {
  /** Channels. */
  inputs: number
  outputs: number
  /** Height and width of the filter of every channel. */
  kernel: number
  stride: number
  /** Channels inside for each input; 1 has no widening convolution. */
  expansion: number
}

export interface EfficientNetConfig {
  architecture: 'efficientnet-lite'
  /** Height and width of the images it was trained on. */
  imageSize: number
  /** The first convolution, over the three colours. */
  stem: { outputs: number; kernel: number; stride: number }
  blocks: readonly InvertedBlock[]
  /** Channels of the last convolution, which are averaged over the image. */
  features: number
  classes: number
  normEpsilon: number
  /** Colours of 0 to 255 enter as (colour - mean) / deviation. */
  colours: { mean: number; deviation: number }
}

/** Stages of Lite0: how many blocks, and what the first is; the others keep channels and size. */
const stages: readonly (InvertedBlock & { repeats: number })[] = [
  { repeats: 1, kernel: 3, stride: 1, expansion: 1, inputs: 32, outputs: 16 },
  { repeats: 2, kernel: 3, stride: 2, expansion: 6, inputs: 16, outputs: 24 },
  { repeats: 2, kernel: 5, stride: 2, expansion: 6, inputs: 24, outputs: 40 },
  { repeats: 3, kernel: 3, stride: 2, expansion: 6, inputs: 40, outputs: 80 },
  { repeats: 3, kernel: 5, stride: 1, expansion: 6, inputs: 80, outputs: 112 },
  { repeats: 4, kernel: 5, stride: 2, expansion: 6, inputs: 112, outputs: 192 },
  { repeats: 1, kernel: 3, stride: 1, expansion: 6, inputs: 192, outputs: 320 },
]

export const efficientNetLite0: EfficientNetConfig = {
  architecture: 'efficientnet-lite',
  imageSize: 224,
  stem: { outputs: 32, kernel: 3, stride: 2 },
  blocks: stages.flatMap(({ repeats, ...first }) => [
    first,
    ...Array.from({ length: repeats - 1 }, () => ({ ...first, inputs: first.outputs, stride: 1 })),
  ]),
  features: 1280,
  classes: 1000,
  normEpsilon: 1e-3,
  colours: { mean: 127, deviation: 128 },
}

/** Whether the input is added to what comes out. */
export const isResidual = ({ inputs, outputs, stride }: InvertedBlock): boolean =>
  stride === 1 && inputs === outputs
