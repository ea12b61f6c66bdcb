/**
 * A small convolutional network in the manner of LeNet-5 (LeCun et al. 1998): convolutions of 5 x 5 with ReLU and max
 * pooling in between, then fully connected layers.
 */
import { Convolution } from '../../nn/convolution.ts'
import { Linear } from '../../nn/linear.ts'
import { visit } from '../../nn/sites.ts'
import { denseSource } from '../../nn/weight_source.ts'
import { OptionError } from '../../tensor/errors.ts'
import { maxPool2d, relu, scope } from '../../tensor/index.ts'
import type { WeightMaker } from '../weight_maker.ts'
import type { Classifier } from './network.ts'
import { checkWidths } from './widths.ts'

export interface LenetOptions {
  classes: number
  /** Height, width and channels of the images; height and width are multiples of 4. @default [28, 28, 1] */
  image?: readonly [number, number, number]
  /** Channels of the two convolutions. @default [20, 50] */
  convolutions?: readonly [number, number]
  /** Width of the hidden layer. @default 500 */
  hidden?: number
}

const filled = ({
  classes,
  image = [28, 28, 1],
  convolutions = [20, 50],
  hidden = 500,
}: LenetOptions): Required<LenetOptions> => ({ classes, image, convolutions, hidden })

/** @throws OptionError for an image that two poolings do not divide, and for widths that are no whole numbers from 1 on */
export function checkLenet(options: LenetOptions): void {
  const { classes, image, convolutions, hidden } = filled(options)
  const [height, width, channels] = image
  if (convolutions.length !== 2)
    throw new OptionError(`lenet: convolutions need two widths, got [${[...convolutions].join(', ')}]`)
  const [first, second] = convolutions
  checkWidths('lenet', { height, width, channels, 'convolutions[0]': first, 'convolutions[1]': second })
  checkWidths('lenet', { hidden, classes })
  if (height % 4 !== 0 || width % 4 !== 0)
    throw new OptionError(
      `lenet: height and width must be multiples of 4, got ${height} and ${width}; scale the images`,
    )
}

/**
 * x [batch, height, width, channels] -> logits [batch, classes]; weights `conv1`, `conv2`, `fc1`, `fc2`.
 *
 * @throws OptionError for shapes that cannot be, as `checkLenet` says
 */
export function lenet(options: LenetOptions, weights: WeightMaker): Classifier {
  checkLenet(options)
  const { classes, image, convolutions, hidden } = filled(options)
  const [height, width, channels] = image
  const bias = (name: string, size: number) =>
    weights.weight(`${name}.bias`, [size], { kind: 'constant', value: 0 })
  const convolution = (name: string, inputs: number, outputs: number) => {
    const weight = weights.weight(`${name}.weight`, [outputs, 5, 5, inputs], {
      kind: 'he',
      fanIn: 25 * inputs,
    })
    const geometry = { kernel: [5, 5], padding: 2 } as const
    return new Convolution(`${name}.weight`, denseSource(weight), geometry, bias(name, outputs))
  }
  const linear = (name: string, inputs: number, outputs: number) => {
    const weight = weights.weight(`${name}.weight`, [outputs, inputs], { kind: 'he', fanIn: inputs })
    return new Linear(`${name}.weight`, denseSource(weight), bias(name, outputs))
  }
  const features = (height / 4) * (width / 4) * convolutions[1]
  const [conv1, conv2] = [
    convolution('conv1', channels, convolutions[0]),
    convolution('conv2', convolutions[0], convolutions[1]),
  ]
  const [fc1, fc2] = [linear('fc1', features, hidden), linear('fc2', hidden, classes)]
  return {
    layers: new Map([conv1, conv2, fc1, fc2].map((layer) => [layer.name, layer])),
    norms: [],
    sites: () => ['conv1/act', 'conv2/act', 'fc1/act', 'logits'],
    forward: (x, { at } = {}) =>
      scope(() => {
        const one = maxPool2d(visit(at, 'conv1/act', relu(conv1.forward(x))), 2)
        const two = maxPool2d(visit(at, 'conv2/act', relu(conv2.forward(one))), 2)
        const three = visit(at, 'fc1/act', relu(fc1.forward(two.reshape([x.extent(0), features]))))
        return visit(at, 'logits', fc2.forward(three))
      }),
  }
}
