/** Convolutions with channels last, and the windows of an image as a matrix. */
import { ShapeError } from '../errors.ts'
import type { WindowGeometry } from '../kernels.ts'
import { apply, isRecording, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { sameShape, showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { relu } from './elementwise.ts'
import { isExplicit } from './explicit.ts'
import { asRows } from './matmul.ts'
import { needSame } from './operand.ts'
import { geometryOf, type Pair, pairOf, sizeOver, type WindowOptions } from './window.ts'

export interface ConvolutionOptions extends WindowOptions {
  /** What happens to the sums before they are stored. @default 'none' */
  activation?: 'none' | 'relu'
}

interface Applied {
  geometry: WindowGeometry
  relu: boolean
}

/** x [batch, height, width, in], weight [out, kh, kw, in / groups], bias [out]. */
const convolutionOperation: Operation<[Tensor, Tensor, Tensor | undefined], Applied, Tensor> = {
  name: 'conv2d',
  forward(kernels, [x, weight, bias], { geometry, relu }) {
    const shape = outputShape(x, weight, bias, geometry)
    const handle = kernels.convolution(x.handle, weight.handle, bias?.handle, geometry, relu)
    return new Tensor(kernels, handle, x.dtype, shape)
  },
  // On the tape no convolution has an activation: see `conv2d`.
  saves: (needs) => ({ inputs: [...(needs[0] ? [1] : []), ...(needs[1] ? [0] : [])] }),
  backward({ inputs: [x, weight], options: { geometry }, gradient, needs }) {
    const [, height, width] = x.shape as [number, number, number]
    const [, ...kernel] = weight.shape.slice(0, 3) as [number, number, number]
    return [
      needs[0]
        ? apply(inputGradientOperation, [gradient, weight], { geometry, size: [height, width] })
        : undefined,
      needs[1] ? apply(weightGradientOperation, [x, gradient], { geometry, size: kernel }) : undefined,
      needs[2] ? asRows(gradient).sum(0) : undefined,
    ]
  },
}

interface Sized {
  geometry: WindowGeometry
  /** Height and width of what the gradient is for. */
  size: readonly [number, number]
}

const inputGradientOperation: Operation<[Tensor, Tensor], Sized, Tensor> = {
  name: 'convolutionInputGradient',
  forward(kernels, [gradient, weight], { geometry, size }) {
    const shape = [gradient.shape[0]!, ...size, weight.shape[3]! * geometry.groups]
    const handle = kernels.convolutionInputGradient(gradient.handle, weight.handle, size, geometry)
    return new Tensor(kernels, handle, gradient.dtype, shape)
  },
}

const weightGradientOperation: Operation<[Tensor, Tensor], Sized, Tensor> = {
  name: 'convolutionWeightGradient',
  forward(kernels, [x, gradient], { geometry, size }) {
    const shape = [gradient.shape[3]!, ...size, x.shape[3]! / geometry.groups]
    const handle = kernels.convolutionWeightGradient(x.handle, gradient.handle, size, geometry)
    return new Tensor(kernels, handle, x.dtype, shape)
  },
}

/**
 * Sums of products of a window's inputs and a weight: x [batch, height, width, in], weight [out, kh, kw, in / groups],
 * bias [out]; the result is [batch, height', width', out]. With as many groups as channels it is depthwise. bf16 sums
 * in f32.
 *
 * @throws ShapeError where the channels do not divide into the groups, or no window fits the image.
 * @example conv2d(x, weight, bias, { stride: 2, padding: [...samePadding(224, 3, 2), ...samePadding(224, 3, 2)] })
 */
export function conv2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  { activation = 'none', ...options }: ConvolutionOptions = {},
): Tensor {
  const geometry = geometryOf('conv2d', options)
  const isRelu = activation === 'relu'
  // The gradient of an activation wants what goes into it.
  if (isRelu && (isRecording() || isExplicit()))
    return scope(() => relu(apply(convolutionOperation, [x, weight, bias], { geometry, relu: false })))
  return apply(convolutionOperation, [x, weight, bias], { geometry, relu: isRelu })
}

export interface Convolution1dOptions {
  /** @default 1 */
  stride?: number
  /** Zeros before and after. @default 0 */
  padding?: Pair
  /** @default 1 */
  dilation?: number
  /** @default 1 */
  groups?: number
  /** @default 'none' */
  activation?: 'none' | 'relu'
}

/** As `conv2d` along one axis: x [batch, length, in], weight [out, k, in / groups], bias [out]. */
export function conv1d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  { stride = 1, padding = 0, dilation = 1, ...options }: Convolution1dOptions = {},
): Tensor {
  if (x.rank !== 3 || weight.rank !== 3)
    throw new ShapeError(
      `conv1d: needs x [batch, length, in] and weight [out, k, in / groups], got ${showShape(x.shape)} and ${showShape(weight.shape)}`,
    )
  return scope(() =>
    conv2d(x.unsqueeze(1), weight.unsqueeze(1), bias, {
      ...options,
      stride: [1, stride],
      padding: [0, 0, ...pairOf(padding)],
      dilation: [1, dilation],
    }).squeeze(1),
  )
}

const unfoldOperation: Operation<[Tensor], Sized, Tensor> = {
  name: 'unfold',
  forward(kernels, [x], { geometry, size }) {
    needCompute(x, 'unfold')
    const [height, width] = sizeOver('unfold', x, size, geometry)
    if (x.shape[3]! % geometry.groups !== 0)
      throw new ShapeError(
        `unfold: ${x.shape[3]} channels do not divide into ${geometry.groups} groups; choose a divisor`,
      )
    const shape = [
      geometry.groups,
      x.shape[0]! * height * width,
      (size[0] * size[1] * x.shape[3]!) / geometry.groups,
    ]
    return new Tensor(kernels, kernels.unfold(x.handle, size, geometry), x.dtype, shape)
  },
}

/**
 * The inputs of every window: x [batch, height, width, in] gives [groups, batch * positions, kh * kw * in / groups], in
 * the order of the columns of a weight [out, kh * kw * in / groups]. For statistics; it has no gradient.
 *
 * @example gram(unfold(x, 3, { padding: 1 }).squeeze(0))
 */
export function unfold(x: Tensor, kernel: Pair, options: WindowOptions = {}): Tensor {
  return apply(unfoldOperation, [x], { geometry: geometryOf('unfold', options), size: pairOf(kernel) })
}

function outputShape(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  geometry: WindowGeometry,
): [number, number, number, number] {
  needCompute(x, 'conv2d')
  for (const other of [weight, bias]) if (other) needSame('conv2d', x, other)
  if (x.rank !== 4 || weight.rank !== 4)
    throw new ShapeError(
      `conv2d: needs x [batch, height, width, in] and weight [out, kh, kw, in / groups], got ${showShape(x.shape)} and ${showShape(weight.shape)}`,
    )
  const [batch, , , channels] = x.shape as [number, number, number, number]
  const [out, down, across, depth] = weight.shape as [number, number, number, number]
  const { groups } = geometry
  if (depth * groups !== channels || out % groups !== 0)
    throw new ShapeError(
      `conv2d: ${channels} channels in ${groups} groups need a weight [out, kh, kw, ${channels / groups}] with out divisible by ${groups}, got ${showShape(weight.shape)}`,
    )
  if (bias && !sameShape(bias.shape, [out]))
    throw new ShapeError(`conv2d: the bias needs shape [${out}], got ${showShape(bias.shape)}`)
  return [batch, ...sizeOver('conv2d', x, [down, across], geometry), out]
}
