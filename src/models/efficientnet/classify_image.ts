/**
 * Classes of an image file by EfficientNet-Lite. As in the evaluation of its authors
 * (https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/preprocessing.py) the model sees the square in
 * the middle whose side is size / (size + 32) of the shorter side, scaled to `size`.
 */
import { readImage } from '../../formats/image_file.ts'
import { OptionError } from '../../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../../tensor/index.ts'
import type { ResidentEfficientNet } from './efficientnet.ts'

/** Points that stay outside of the square, on both sides together, after scaling. */
const BORDER = 32

export interface ImageClass {
  /** From 0 on, in the order of ImageNet 2012. */
  index: number
  /** In [0, 1]; all classes together have 1. */
  probability: number
}

/**
 * The middle of an image as the model wants it: [1, size, size, 3], colours from 0 to 255.
 *
 * @throws FormatError for a damaged file or another format, SourceError for one that cannot be read
 */
export async function readMiddle(path: string, size: number): Promise<Tensor> {
  const whole = size + BORDER
  const { pixels } = await readImage(path, { size: { height: whole, width: whole } })
  const first = BORDER / 2
  return scope(() =>
    tensor(Float32Array.from(pixels), [1, whole, whole, 3])
      .slice(1, first, first + size)
      .slice(2, first, first + size)
      .contiguous(),
  )
}

/**
 * The likeliest classes of an image, best first; of equal ones the lower index.
 *
 * @param count from 1 to the classes of the model
 * @throws OptionError for another count, and as `readMiddle`
 * @example const [best] = await classifyImage(resident, 'cat.jpg')
 */
export async function classifyImage(
  model: ResidentEfficientNet,
  path: string,
  count = 5,
): Promise<ImageClass[]> {
  const { imageSize, classes } = model.config
  if (!(Number.isInteger(count) && count >= 1 && count <= classes))
    throw new OptionError(`count: needs a whole number of classes from 1 to ${classes}, got ${count}`)
  const image = await readMiddle(path, imageSize)
  try {
    const probabilities = scope(() => Array.from(model.forward(image).softmax().toArray(), Number))
    return probabilities
      .map((probability, index) => ({ index, probability }))
      .sort((a, b) => b.probability - a.probability)
      .slice(0, count)
  } finally {
    image.dispose()
  }
}
