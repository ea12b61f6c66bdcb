/** The native kernels behind the kernel interface: codes for number types, error classes for error codes. */
import { type Binding, binding } from './binding.ts'
import { codeOf } from './dtype.ts'
import {
  AbortError,
  FormatError,
  NativeError,
  NumericalError,
  OptionError,
  PareError,
  ResourceError,
  ShapeError,
} from './errors.ts'
import type { Kernels, WindowGeometry } from './kernels.ts'

/** The error class for what the native core reports; anything else passes unchanged. */
export function nativeFault(error: unknown): unknown {
  if (error instanceof PareError || !(error instanceof Error)) return error
  const { code, message } = error as { code?: string; message: string }
  switch (code) {
    case 'PARE_E_OPTION':
      return new OptionError(message)
    case 'PARE_E_SHAPE':
      return new ShapeError(message)
    case 'PARE_E_NUMERICAL':
      return new NumericalError(message)
    case 'PARE_E_FORMAT':
      return new FormatError(message)
    case 'PARE_E_RESOURCE':
      return new ResourceError(message)
    case 'PARE_E_MEMORY':
      return new ResourceError(message, { code })
    case 'PARE_E_ABORTED':
      return new AbortError()
    case 'PARE_E_INTERNAL':
      return new NativeError(message, { code })
    default:
      return error
  }
}

/** Gives the freed memory that this thread keeps for reuse back to the system. */
export function trimPool(): void {
  callNative((native) => native.trimPool())
}

/**
 * Bytes of freed memory that this thread keeps for reuse; what exceeds them goes back to the system at once, and the next
 * tensors pay for fresh pages.
 *
 * @default 128 MiB
 */
export function setPoolLimit(bytes: number): void {
  callNative((native) => native.setPoolLimit(bytes))
}

/**
 * Bytes that tensors of all threads may take together, with freed memory that is kept for reuse. What would pass it is
 * refused with a ResourceError, PARE_E_MEMORY, after the kept memory of its thread was given back.
 *
 * @param bytes infinity for no limit
 */
export function setMemoryLimit(bytes: number): void {
  callNative((native) =>
    native.setMemoryLimit(bytes === Number.POSITIVE_INFINITY ? bytes : Math.floor(bytes)),
  )
}

/** Bytes that tensors of all threads take now, with freed memory that is kept for reuse. */
export const heldMemory = (): number => callNative((native) => native.heldMemory())

/** Calls the native core, with its faults turned into errors of Pare. */
export function callNative<T>(call: (native: typeof Binding) => T): T {
  try {
    return call(binding())
  } catch (error) {
    throw nativeFault(error)
  }
}

let kernels: Kernels | undefined

export function nativeKernels(): Kernels {
  if (kernels) return kernels
  const native = binding()
  kernels = {
    name: 'native',
    upload: (dtype, shape, bytes) => native.upload(codeOf(dtype), shape as number[], bytes),
    download: (x, bytes) => native.download(x, bytes),
    overwrite: (state, bytes) => native.overwrite(state, bytes),
    fill: (dtype, shape, value) => native.fill(codeOf(dtype), shape as number[], value),
    restride: (base, shape, strides, offset) =>
      native.restride(base, shape as number[], strides as number[], offset),
    release: (x) => native.release(x),
    memory: () => native.memory(),
    resetPeak: () => native.resetPeak(),
    contiguous: (x) => native.contiguous(x),
    duplicate: (x) => native.duplicate(x),
    cast: (x, dtype) => native.cast(x, codeOf(dtype)),
    unary: (name, x) => native.unary(name, x),
    unaryGradient: (name, kept, dy) => native.unaryGradient(name, kept, dy),
    test: (name, x) => native.test(name, x),
    binary: (name, a, b) => native.binary(name, a, b),
    compare: (name, a, b) => native.compare(name, a, b),
    where: (condition, a, b) => native.select(condition, a, b),
    swiglu: (gate, up) => native.swiglu(gate, up),
    swigluGradient: (gate, up, dy) => native.swigluGradient(gate, up, dy) as [number, number],
    reduce: (name, x, kept) => native.reduce(name, x, kept),
    softmax: (x) => native.softmax(x),
    logSoftmax: (x) => native.logSoftmax(x),
    softmaxGradient: (y, dy) => native.softmaxGradient(y, dy),
    logSoftmaxGradient: (y, dy) => native.logSoftmaxGradient(y, dy),
    rmsNorm: (x, weight, epsilon) => native.rmsNorm(x, weight, epsilon),
    layerNorm: (x, weight, bias, epsilon) => native.layerNorm(x, weight, bias, epsilon),
    rmsNormGradient: (x, weight, dy, epsilon) =>
      native.rmsNormGradient(x, weight, dy, epsilon) as [number, number],
    layerNormGradient: (x, weight, dy, epsilon) =>
      native.layerNormGradient(x, weight, dy, epsilon) as [number, number, number],
    crossEntropy: (logits, targets, { smoothing, ignored }) =>
      native.crossEntropy(logits, targets, smoothing, ignored) as [number, number],
    crossEntropyGradient: (logits, targets, logSums, dlosses, { smoothing, ignored }) =>
      native.crossEntropyGradient(logits, targets, logSums, dlosses, smoothing, ignored),
    rotary: (x, cos, sin, interleaved) => native.rotary(x, cos, sin, interleaved),
    attention: (q, k, v, bias, { scale, causal }) => native.attention(q, k, v, bias, scale, causal),
    attentionWithSums: (q, k, v, bias, { scale, causal }) =>
      native.attentionWithSums(q, k, v, bias, scale, causal) as [number, number],
    attentionGradient: ({ q, k, v, bias }, { out, logSums, dout }, { scale, causal, needsBias }) =>
      native.attentionGradient(q, k, v, bias, out, logSums, dout, scale, causal, needsBias),
    matmul: (left, right, bias, activation, residual) =>
      native.matmul(left, right, bias, activation, residual),
    addGram: (accumulator, x) => native.addGram(accumulator, x),
    assign: (state, x) => native.assign(state, x),
    lerp: (state, x, share) => native.lerp(state, x, share),
    sumOfSquares: (x) => native.sumOfSquares(x),
    sgdStep: (parameter, momentum, gradient, step) => native.sgdStep(parameter, momentum, gradient, step),
    adamStep: (parameter, first, second, gradient, step) =>
      native.adamStep(parameter, first, second, gradient, step),
    convolution: (x, weight, bias, geometry, relu) =>
      native.convolution(x, weight, bias, fieldsOf(geometry), relu),
    convolutionInputGradient: (gradient, weight, [height, width], geometry) =>
      native.convolutionInputGradient(gradient, weight, height, width, fieldsOf(geometry)),
    convolutionWeightGradient: (x, gradient, [height, width], geometry) =>
      native.convolutionWeightGradient(x, gradient, height, width, fieldsOf(geometry)),
    unfold: (x, [height, width], geometry) => native.unfold(x, height, width, fieldsOf(geometry)),
    maxPool: (x, [height, width], geometry, hasTaps) =>
      native.maxPool(x, height, width, fieldsOf(geometry), hasTaps),
    maxPoolGradient: (gradient, taps, size, kernel, geometry) =>
      native.maxPoolGradient(gradient, taps, [...size], [...kernel], fieldsOf(geometry)),
    channelNorm: (x, weight, bias, groups, epsilon) =>
      native.channelNorm(x, weight, bias, groups, epsilon) as [number, number, number],
    channelNormGradient: (x, gradient, weight, { mean, variance }, groups, epsilon) =>
      native.channelNormGradient(x, gradient, weight, mean, variance, groups, epsilon) as [
        number,
        number,
        number,
      ],
    scaleShift: (x, scale, shift) => native.scaleShift(x, scale, shift),
    indexSelect: (x, ids) => native.indexSelect(x, ids),
    indexAdd: (rows, ids, dy) => native.indexAdd(rows, ids, dy),
    gather: (x, index, axis) => native.gather(x, index, axis),
    scatter: (x, index, source, axis, mode) => native.scatter(x, index, source, axis, mode),
    concat: (parts, axis) => native.concat(parts as number[], axis),
    sort: (x, descending) => native.sort(x, descending) as [number, number],
    topK: (x, k, largest) => native.topK(x, k, largest) as [number, number],
    random: (kind, dtype, shape, key, counter) =>
      native.random(kind, codeOf(dtype), shape as number[], key, counter),
    dropout: (x, p, key, counter) => native.dropout(x, p, key, counter),
    cholesky: (a) => native.cholesky(a),
    choleskyInverse: (factor) => native.choleskyInverse(factor),
    triangularSolve: (a, b, { lower, transpose, unit }) =>
      native.triangularSolve(a, b, lower, transpose, unit),
    solve: (a, b) => native.solve(a, b),
    qr: (a) => native.qr(a) as [number, number],
    svd: (a) => native.svd(a) as [number, number, number],
    eigh: (a) => native.eigh(a) as [number, number],
  }
  return kernels
}

/** In the order of native/src/convolution/mod.rs. */
const fieldsOf = ({ stride, padding, dilation, groups }: WindowGeometry): number[] => [
  ...stride,
  ...padding,
  ...dilation,
  groups,
]

/** Threads that native kernels share; results have the same bits for every number. @default the cores */
export function setThreads(threads: number): void {
  if (!(Number.isInteger(threads) && threads >= 1 && threads <= 1024)) {
    throw new OptionError(`threads: needs a whole number from 1 to 1024, got ${threads}`)
  }
  callNative((native) => native.setThreads(threads))
}

export const threads = (): number => callNative((native) => native.threads())

/** The instruction set that native kernels run with: `portable`, `avx2` or `avx512`. */
export const instructionSet = (): string => callNative((native) => native.instructionSet())
