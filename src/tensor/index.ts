/** The tensor engine: what the layers above import. */
import './fluent.ts'

export { checkpoint, isRecomputing } from './autodiff/checkpoint.ts'
export { type CustomGradient, customGradient } from './autodiff/custom_gradient.ts'
export { Gradients } from './autodiff/gradients.ts'
export {
  type GradientsOf,
  type Loss,
  type Pullback,
  stopGradient,
  type Tensors,
  type ValueAndGradients,
  valueAndGrad,
  vjp,
} from './autodiff/value_and_grad.ts'
export { currentKernels, withKernels } from './current_kernels.ts'
export {
  asStorage,
  bytesOf,
  type ComputeType,
  computes,
  type DType,
  dtypes,
  type NumberArray,
  sizeOf,
  storageArray,
} from './dtype.ts'
export type { Activation, AdamStep, Kernels, MemoryUse, SgdStep } from './kernels.ts'
export { arange, fromBytes, full, fullLike, ones, tensor, zeros, zerosLike } from './makers.ts'
export {
  heldMemory,
  instructionSet,
  nativeKernels,
  setMemoryLimit,
  setPoolLimit,
  setThreads,
  threads,
  trimPool,
} from './native.ts'
export {
  apply,
  currentRecorder,
  type Entry,
  type GradientContext,
  isRecording,
  type Operation,
  type Recorder,
  type Saved,
  unrecorded,
  withRecorder,
} from './operation.ts'
export {
  type AttentionOptions,
  type AttentionSite,
  attention,
  type ExplicitOptions,
  explicitAttention,
} from './operations/attention.ts'
export type { Axes } from './operations/axes.ts'
export { cast } from './operations/cast.ts'
export * from './operations/channel_norm.ts'
export * from './operations/convolution.ts'
export { type CrossEntropyOptions, crossEntropy } from './operations/cross_entropy.ts'
export { dropout, dropPath } from './operations/dropout.ts'
export * from './operations/elementwise.ts'
export { explicitPaths, isExplicit } from './operations/explicit.ts'
export * from './operations/gather.ts'
export * from './operations/linalg.ts'
export { type Epilogue, type GramOptions, gram, linear, matmul } from './operations/matmul.ts'
export * from './operations/normalize.ts'
export type { Operand } from './operations/operand.ts'
export { type PlaceOptions, place } from './operations/place.ts'
export * from './operations/pooling.ts'
export * from './operations/reduce.ts'
export { type RotaryOptions, rotary } from './operations/rotary.ts'
export { split, unstack } from './operations/split.ts'
export { swiglu } from './operations/swiglu.ts'
export { type Padding, type Pair, samePadding, type WindowOptions } from './operations/window.ts'
export { adamStep, sgdStep, sumOfSquares } from './optimiser_steps.ts'
export { type RandomStream, randomStream, type StreamState } from './random.ts'
export { referenceKernels } from './reference/kernels.ts'
export {
  adopt,
  detach,
  dispose,
  type Resource,
  type ResourceHolder,
  register,
  scope,
  unregister,
} from './scope.ts'
export {
  broadcastShapes,
  elementCount,
  normalizeAxis,
  rowMajor,
  type Shape,
  sameShape,
  showShape,
} from './shape.ts'
export { State } from './state.ts'
export { type Memory, Tensor } from './tensor.ts'
