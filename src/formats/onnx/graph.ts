/**
 * ONNX models as plain objects: what a reader finds and a writer takes. Values are known by their names; a node comes
 * behind those whose outputs it takes.
 *
 * @example
 * const graph = {
 *   name: 'line',
 *   inputs: [value('x', 'F32', ['batch', 4])],
 *   outputs: [value('y', 'F32', ['batch', 2])],
 *   nodes: [node('MatMul', ['x', 'w'], ['y'])],
 *   initializers: [{ name: 'w', type: 'F32', shape: [4, 2] }],
 * }
 */
import type { TensorInfo } from '../archive.ts'
import type { Whole } from './protobuf_fields.ts'

/** A size, the name of a size that is known later, or null for one that nothing is said about. */
export type Dimension = number | string | null

/** An input, an output or a value between nodes. */
export interface OnnxValue {
  readonly name: string
  /** Element type in the words of safetensors (`F32`, `I64`), or `SEQUENCE`, `MAP` ... for what is no tensor, which is not written. */
  readonly type?: string
  /** @default the number of axes is not known either */
  readonly shape?: readonly Dimension[]
}

export interface OnnxTensor extends TensorInfo {
  /** Little-endian elements, written within the graph. Without them they are appended to the writer; read ones have none. */
  readonly data?: Uint8Array
}

export type OnnxAttribute =
  | { readonly kind: 'int'; readonly value: Whole }
  | { readonly kind: 'float'; readonly value: number }
  /** Bytes where it is not UTF-8. */
  | { readonly kind: 'string'; readonly value: string | Uint8Array }
  | { readonly kind: 'tensor'; readonly value: OnnxTensor }
  | { readonly kind: 'graph'; readonly value: OnnxGraph }
  | { readonly kind: 'ints'; readonly value: readonly Whole[] }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'strings'; readonly value: readonly (string | Uint8Array)[] }
  | { readonly kind: 'tensors'; readonly value: readonly OnnxTensor[] }
  | { readonly kind: 'graphs'; readonly value: readonly OnnxGraph[] }
  /** Sparse tensors, types, and references to attributes of a function: read by their type number alone, never written. */
  | { readonly kind: 'other'; readonly value: number }

export interface OnnxNode {
  readonly opType: string
  /** `''` for the operators of ONNX itself. */
  readonly domain: string
  /** May be `''`. */
  readonly name: string
  /** Names of values; `''` for one that is left out. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: ReadonlyMap<string, OnnxAttribute>
}

export interface OnnxGraph {
  readonly name: string
  readonly inputs: readonly OnnxValue[]
  readonly outputs: readonly OnnxValue[]
  readonly nodes: readonly OnnxNode[]
  readonly initializers: readonly OnnxTensor[]
  /** What is known about values between nodes. */
  readonly values?: readonly OnnxValue[]
}

export interface OnnxModel {
  readonly graph: OnnxGraph
  /** Domain of operators to version of its set; `''` for ONNX itself. */
  readonly opsets: ReadonlyMap<string, number>
  /** @default 10, of ONNX 1.16 */
  readonly irVersion?: number
  /** @default 'pare' */
  readonly producer?: string
  readonly metadata?: ReadonlyMap<string, string>
}

/** @example value('input_ids', 'I64', ['batch', 'sequence']) */
export const value = (name: string, type: string, shape?: readonly Dimension[]): OnnxValue =>
  shape ? { name, type, shape } : { name, type }

export interface NodeOptions {
  /** @default '' */
  name?: string
  /** Such as `com.microsoft`. @default '' */
  domain?: string
}

/** @example node('Softmax', ['scores'], ['weights'], { axis: int(-1) }, { name: 'layer.0/softmax' }) */
export const node = (
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, OnnxAttribute>> = {},
  { name = '', domain = '' }: NodeOptions = {},
): OnnxNode => ({ opType, domain, name, inputs, outputs, attributes: new Map(Object.entries(attributes)) })

export const int = (value: Whole): OnnxAttribute => ({ kind: 'int', value })
export const float = (value: number): OnnxAttribute => ({ kind: 'float', value })
export const string = (value: string): OnnxAttribute => ({ kind: 'string', value })
export const ints = (value: readonly Whole[]): OnnxAttribute => ({ kind: 'ints', value })
export const floats = (value: readonly number[]): OnnxAttribute => ({ kind: 'floats', value })
export const strings = (value: readonly string[]): OnnxAttribute => ({ kind: 'strings', value })
export const subgraph = (value: OnnxGraph): OnnxAttribute => ({ kind: 'graph', value })

/** A tensor with its bytes at hand, as an attribute needs it. */
export const tensorAttribute = (value: OnnxTensor & { readonly data: Uint8Array }): OnnxAttribute => ({
  kind: 'tensor',
  value,
})

/** Little-endian numbers as a small initialiser: sizes, axes, constants. @example wholeNumbers('axes', [1]) */
export const wholeNumbers = (
  name: string,
  values: readonly number[],
  shape: readonly number[] = [values.length],
): OnnxTensor & { readonly data: Uint8Array } => ({
  name,
  type: 'I64',
  shape,
  data: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
})

/** As `wholeNumbers`, in f32. */
export const floatNumbers = (
  name: string,
  values: readonly number[],
  shape: readonly number[] = [values.length],
): OnnxTensor & { readonly data: Uint8Array } => ({
  name,
  type: 'F32',
  shape,
  data: new Uint8Array(Float32Array.from(values).buffer),
})
