/** What a pickle of a model's state may hold. */

/** Bytes of numbers that one or several tensors view. */
export interface TorchStorage {
  readonly kind: 'storage'
  readonly key: string
  /** Element type in the words of safetensors: `F32`, `BF16`. */
  readonly type: string
  readonly itemBytes: number
  /** Elements. */
  readonly count: number
}

/** A part of a storage seen as a storage of its own, as old files have it. */
export interface TorchStorageView {
  readonly kind: 'view'
  readonly storage: TorchStorage
  /** First element, and how many. */
  readonly start: number
  readonly count: number
}

export interface TorchTensor {
  readonly kind: 'tensor'
  readonly storage: TorchStorage
  /** First element in the storage. */
  readonly start: number
  readonly shape: readonly number[]
  /** In elements, one an axis, none below 0. */
  readonly strides: readonly number[]
}

export interface PickleDict {
  readonly kind: 'dict'
  readonly entries: Map<string | number, PickleValue>
}

export interface PickleSequence {
  readonly kind: 'list' | 'tuple'
  readonly items: PickleValue[]
}

/** A function or class by name, only ever called through the closed table of `globals.ts`. */
export interface PickleGlobal {
  readonly kind: 'global'
  readonly name: string
}

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleDict
  | PickleSequence
  | PickleGlobal
  | TorchStorage
  | TorchStorageView
  | TorchTensor

export const kindOf = (value: PickleValue | undefined): string =>
  value === undefined
    ? 'nothing'
    : value === null
      ? 'None'
      : typeof value === 'object'
        ? value.kind
        : typeof value
