/**
 * What a set of kernels must do: `native` (Rust) and `reference` (short TypeScript loops, the oracle of the
 * tests). Shapes and types are checked above; a kernel checks only what would break memory.
 *
 * A handle names a strided view on a buffer. Every result is a new row-major tensor unless said otherwise.
 * Axes are already moved: a reduction runs over the trailing axes, softmax and norms over the last.
 */
import type { DType } from './dtype.ts'

export type Handle = number

export type UnaryName =
  | 'neg'
  | 'abs'
  | 'sign'
  | 'exp'
  | 'expm1'
  | 'log'
  | 'log1p'
  | 'sqrt'
  | 'rsqrt'
  | 'reciprocal'
  | 'square'
  | 'sin'
  | 'cos'
  | 'tanh'
  | 'sigmoid'
  | 'silu'
  | 'relu'
  | 'geluErf'
  | 'geluTanh'
  | 'erf'
  | 'floor'
  | 'ceil'
  | 'round'
/** Functions whose gradient is a kernel: from x for the first three, from the value y for the others. */
export type UnaryGradientName = 'silu' | 'geluErf' | 'geluTanh' | 'tanh' | 'sigmoid' | 'relu'
/** Result bool. `logicalNot` takes bool. */
export type TestName = 'isNan' | 'isFinite' | 'logicalNot'
export type BinaryName = 'add' | 'sub' | 'mul' | 'div' | 'pow' | 'maximum' | 'minimum'
/** Result bool; the logical ones take bool. */
export type CompareName =
  | 'equal'
  | 'notEqual'
  | 'less'
  | 'lessEqual'
  | 'greater'
  | 'greaterEqual'
  | 'logicalAnd'
  | 'logicalOr'
/** `any` and `all` take and give bool; `argmax` and `argmin` give u32, the lowest index on ties, NaN wins. */
export type ReduceName =
  | 'sum'
  | 'mean'
  | 'max'
  | 'min'
  | 'prod'
  | 'logsumexp'
  | 'argmax'
  | 'argmin'
  | 'any'
  | 'all'
export type Activation = 'none' | 'relu' | 'silu'

export interface MemoryUse {
  /** Bytes in live tensors of this thread. */
  live: number
  /** The largest `live` since the start or since the peak was reset. */
  peak: number
  /** Freed bytes kept for reuse. */
  pooled: number
  /** Live tensors. */
  tensors: number
}

export interface AttentionOptions {
  /** Factor on the scores before softmax. */
  scale: number
  /** Query i sees keys up to i + (keys - queries). */
  causal: boolean
}

/** Numbers of one step of SGD: with d = scale g + decay p, m = momentum m + fresh d, p moves by -rate of d, m or d + momentum m. */
export interface SgdStep {
  rate: number
  /** Factor on the gradient: the share of a batch, and that of clipping. */
  scale: number
  /** L2 penalty, added to the gradient. */
  decay: number
  momentum: number
  /** Factor on the gradient where it joins the momentum: 1 - dampening. */
  fresh: number
  nesterov: boolean
}

/** Numbers of one step t of Adam: p moves by -rate m / (sqrt(v) / correction + epsilon). */
export interface AdamStep {
  /** Learning rate over 1 - beta1^t. */
  rate: number
  scale: number
  /** L2 penalty, added to the gradient. */
  decay: number
  /** Factor on the parameter before its step: 1, or 1 - learning rate * decoupled decay. */
  keep: number
  beta1: number
  beta2: number
  /** sqrt(1 - beta2^t) */
  correction: number
  epsilon: number
}

export interface CrossEntropyOptions {
  /** Share of the target that is spread over all classes, in [0, 1]. */
  smoothing: number
  /** The u32 label of rows that do not count. */
  ignored: number | undefined
}

/** How windows move over images [batch, height, width, channels]; the first number of a pair is for the height. */
export interface WindowGeometry {
  stride: readonly [number, number]
  /** Zeros above, below, left and right. */
  padding: readonly [number, number, number, number]
  dilation: readonly [number, number]
  groups: number
}

export interface Kernels {
  readonly name: string

  upload(dtype: DType, shape: readonly number[], bytes: Uint8Array): Handle
  /** Packed little-endian bytes in row-major order. */
  download(x: Handle, bytes: Uint8Array): void
  /** In place; for state only. */
  overwrite(state: Handle, bytes: Uint8Array): void
  fill(dtype: DType, shape: readonly number[], value: number): Handle
  /** Another window on the buffer of `base`; strides and offset count elements of the buffer. */
  restride(base: Handle, shape: readonly number[], strides: readonly number[], offset: number): Handle
  release(x: Handle): void
  memory(): MemoryUse
  resetPeak(): void

  /** Row-major form; may share the buffer where it is row-major already. */
  contiguous(x: Handle): Handle
  /** A row-major copy in a buffer of its own. */
  duplicate(x: Handle): Handle
  cast(x: Handle, dtype: DType): Handle
  unary(name: UnaryName, x: Handle): Handle
  /** dy f'(x); `kept` is x for silu, geluErf and geluTanh, and y = f(x) for tanh, sigmoid and relu. */
  unaryGradient(name: UnaryGradientName, kept: Handle, dy: Handle): Handle
  test(name: TestName, x: Handle): Handle
  /** Both operands have the output's shape (broadcast by stride 0). */
  binary(name: BinaryName, a: Handle, b: Handle): Handle
  compare(name: CompareName, a: Handle, b: Handle): Handle
  where(condition: Handle, a: Handle, b: Handle): Handle
  /** silu(gate) up */
  swiglu(gate: Handle, up: Handle): Handle
  /** dgate and dup. */
  swigluGradient(gate: Handle, up: Handle, dy: Handle): [Handle, Handle]
  /** Reduces all axes after the first `kept`. Sums run in a fixed order; bf16 sums in f32. */
  reduce(name: ReduceName, x: Handle, kept: number): Handle
  softmax(x: Handle): Handle
  logSoftmax(x: Handle): Handle
  /** y (dy - sum(dy y)) for y = softmax(x). */
  softmaxGradient(y: Handle, dy: Handle): Handle
  /** dy - exp(y) sum(dy) for y = logSoftmax(x). */
  logSoftmaxGradient(y: Handle, dy: Handle): Handle
  rmsNorm(x: Handle, weight: Handle | undefined, epsilon: number): Handle
  layerNorm(x: Handle, weight: Handle | undefined, bias: Handle | undefined, epsilon: number): Handle
  /** dx and dweight; sums over rows run in a fixed order. */
  rmsNormGradient(x: Handle, weight: Handle | undefined, dy: Handle, epsilon: number): [Handle, Handle]
  /** dx, dweight and dbias. */
  layerNormGradient(
    x: Handle,
    weight: Handle | undefined,
    dy: Handle,
    epsilon: number,
  ): [Handle, Handle, Handle]
  /**
   * logits [.., classes]; targets are u32 labels [..], each a class or the ignored one, or distributions of the shape and
   * type of the logits. The loss of each row [..] and the logarithm of its sum of exp(logit), in f32, or f64 for f64.
   */
  crossEntropy(logits: Handle, targets: Handle, options: CrossEntropyOptions): [Handle, Handle]
  /** (softmax(logits) - target) dlosses, from the logarithms of sums and the gradient of the losses [..]. */
  crossEntropyGradient(
    logits: Handle,
    targets: Handle,
    logSums: Handle,
    dlosses: Handle,
    options: CrossEntropyOptions,
  ): Handle
  /** x [.., tokens, dim]; cos and sin [tokens, rotated / 2] in f32 or f64; dims past `rotated` pass through. */
  rotary(x: Handle, cos: Handle, sin: Handle, interleaved: boolean): Handle
  /**
   * q [batch, heads, queries, dim], k [batch, kvHeads, keys, dim], v [batch, kvHeads, keys, valueDim], kvHeads
   * divides heads; bias, where given, [batch, heads, queries, keys] (stride 0 allowed). Result [batch, queries,
   * heads, valueDim]. A query without any visible key gives NaN.
   */
  attention(q: Handle, k: Handle, v: Handle, bias: Handle | undefined, options: AttentionOptions): Handle
  /** The result of `attention`, and log(sum(exp(score))) of each query, [batch, heads, queries] in f32, or f64 for f64. */
  attentionWithSums(
    q: Handle,
    k: Handle,
    v: Handle,
    bias: Handle | undefined,
    options: AttentionOptions,
  ): [Handle, Handle]
  /**
   * From the output of `attentionWithSums` and the gradient of its result: dq [batch, queries, heads, dim], dk [batch,
   * keys, kvHeads, dim], dv [batch, keys, kvHeads, valueDim] and, where `needsBias`, dbias [batch, heads, queries, keys].
   */
  attentionGradient(
    inputs: { q: Handle; k: Handle; v: Handle; bias: Handle | undefined },
    result: { out: Handle; logSums: Handle; dout: Handle },
    options: AttentionOptions & { needsBias: boolean },
  ): Handle[]
  /** left [.., m, k], right [.., k, n] with equal leading axes, any strides; + bias [n], activation, + residual. */
  matmul(
    left: Handle,
    right: Handle,
    bias: Handle | undefined,
    activation: Activation,
    residual: Handle | undefined,
  ): Handle
  /**
   * In place: accumulator [n, n] (f32 or f64) += x^T x for x [m, n]. Both triangles are written. Up to 2048 rows may
   * be summed in the type of x (bf16 in f32) before they are added to the accumulator.
   */
  addGram(accumulator: Handle, x: Handle): void

  /** In place: state = x of its shape, rounded to its type. */
  assign(state: Handle, x: Handle): void
  /** In place, f32, f64 or bf16: state += share (x - state), exactly x where the share is 1. */
  lerp(state: Handle, x: Handle, share: number): void
  /** Of f32, f64 or bf16; squared and summed in f64, in an order that the number of elements decides. */
  sumOfSquares(x: Handle): number
  /**
   * In place: a step of SGD of a parameter in f32 or f64 and its momentum of that type and shape, where given. The
   * gradient has that type, or bf16 for f32.
   */
  sgdStep(parameter: Handle, momentum: Handle | undefined, gradient: Handle, step: SgdStep): void
  /** In place: a step of Adam of a parameter and both of its moments; types as in `sgdStep`. */
  adamStep(parameter: Handle, first: Handle, second: Handle, gradient: Handle, step: AdamStep): void
  /** x [batch, height, width, in], weight [out, kh, kw, in / groups], bias [out]; the larger of sum and 0 with `relu`. */
  convolution(
    x: Handle,
    weight: Handle,
    bias: Handle | undefined,
    geometry: WindowGeometry,
    relu: boolean,
  ): Handle
  /** Gradient of x [.., ...size, in] from that of the output. */
  convolutionInputGradient(
    gradient: Handle,
    weight: Handle,
    size: readonly [number, number],
    geometry: WindowGeometry,
  ): Handle
  /** Gradient of the weight [out, ...kernel, in / groups] from that of the output. */
  convolutionWeightGradient(
    x: Handle,
    gradient: Handle,
    kernel: readonly [number, number],
    geometry: WindowGeometry,
  ): Handle
  /** The inputs of every window, [groups, batch * positions, kh * kw * in / groups]. */
  unfold(x: Handle, kernel: readonly [number, number], geometry: WindowGeometry): Handle
  /**
   * The largest number of every window: NaN wins, padding never, of equals the first in row-major order; padding is
   * narrower than the kernel, dilation and groups are 1. With `hasTaps` also the tap of each, u8 for up to 256 taps,
   * else u32.
   */
  maxPool(x: Handle, kernel: readonly [number, number], geometry: WindowGeometry, hasTaps: boolean): Handle[]
  /** Gradient of x [.., ...size, channels]. */
  maxPoolGradient(
    gradient: Handle,
    taps: Handle,
    size: readonly [number, number],
    kernel: readonly [number, number],
    geometry: WindowGeometry,
  ): Handle
  /**
   * x [samples, rows, channels]: (x - mean) / sqrt(variance + epsilon) * weight + bias, with the mean and variance (over
   * n) of every group of neighbouring channels of a sample; weight and bias [channels]. A residual like x is added, and
   * with relu numbers below 0 become 0. Also mean and variance [samples, groups], in f32 for bf16.
   */
  channelNorm(
    x: Handle,
    weight: Handle | undefined,
    bias: Handle | undefined,
    ending: { residual: Handle | undefined; relu: boolean },
    groups: number,
    epsilon: number,
  ): [Handle, Handle, Handle]
  /**
   * Gradients of x, weight and bias, and with `ofSum` that of the residual; `floored` is the result where it had relu.
   */
  channelNormGradient(
    x: Handle,
    gradient: Handle,
    weight: Handle | undefined,
    found: { mean: Handle; variance: Handle; floored: Handle | undefined },
    ofSum: boolean,
    groups: number,
    epsilon: number,
  ): Handle[]
  /** x [.., channels] * scale [channels] + shift [channels]. */
  scaleShift(x: Handle, scale: Handle, shift: Handle): Handle

  /** Rows of x along axis 0; ids are u32 and in range. */
  indexSelect(x: Handle, ids: Handle): Handle
  /** [rows, ..] with row i the sum of dy [count, ..] where ids [count] is i, in ascending order of position. */
  indexAdd(rows: number, ids: Handle, dy: Handle): Handle
  /** result[.., i, ..] = x[.., index[.., i, ..], ..] along `axis`. */
  gather(x: Handle, index: Handle, axis: number): Handle
  /** A copy of x with source put at (or added to) index along `axis`; adds in row-major order of the source. */
  scatter(x: Handle, index: Handle, source: Handle, axis: number, mode: 'set' | 'add'): Handle
  concat(parts: readonly Handle[], axis: number): Handle
  /** Last axis, stable, NaN last; values and u32 indices. */
  sort(x: Handle, descending: boolean): [Handle, Handle]
  /** Last axis; the k largest (or smallest) in order, lowest index on ties; NaN counts as largest. */
  topK(x: Handle, k: number, largest: boolean): [Handle, Handle]

  /** Philox4x32-10 words: counter blocks from `counter` on under a 64-bit key, as uniform, normal or raw bits. */
  random(
    kind: 'uniform' | 'normal' | 'bits',
    dtype: DType,
    shape: readonly number[],
    key: bigint,
    counter: bigint,
  ): Handle

  /**
   * x / (1 - p) where its word is at least floor(p 2^32), 0 elsewhere; element i in row-major order takes word i of the
   * stream.
   */
  dropout(x: Handle, p: number, key: bigint, counter: bigint): Handle

  /** Lower factor L with a = L L^T; a numerical error names the pivot that is not positive. */
  cholesky(a: Handle): Handle
  /** Inverse of a symmetric positive definite matrix from its lower factor. */
  choleskyInverse(factor: Handle): Handle
  triangularSolve(
    a: Handle,
    b: Handle,
    options: { lower: boolean; transpose: boolean; unit: boolean },
  ): Handle
  solve(a: Handle, b: Handle): Handle
  /** Thin: q [m, k], r [k, n], k = min(m, n); the diagonal of r is not negative. */
  qr(a: Handle): [Handle, Handle]
  /** Thin: u [m, k], s [k] descending, vt [k, n]; the largest entry of each u column is positive. */
  svd(a: Handle): [Handle, Handle, Handle]
  /** Symmetric: values ascending, vectors in columns; the largest entry of each is positive. */
  eigh(a: Handle): [Handle, Handle]
}
