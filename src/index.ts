export type { DType } from './tensor/dtype.ts'
export * from './tensor/errors.ts'
export { scope } from './tensor/scope.ts'
export { arange, fromBytes, full, ones, Tensor, tensor, zeros } from './tensor/tensor.ts'
