/** Which products of a graph can be computed by MatMulNBits, and why others cannot. */

import { elementCount } from '../archive.ts'
import type { Constant, Scope } from './constant_scopes.ts'
import { constantOf } from './constant_scopes.ts'
import type { OnnxNode } from './graph.ts'
import { isOnnxDomain } from './tensor_names.ts'

/** A product with a constant matrix. */
export interface Product {
  readonly weight: Constant
  /** Whether the matrix stands as [N, K]; a MatMul has [K, N]. */
  readonly turned: boolean
  /** What is added to the product. */
  readonly bias: string | undefined
}

/** Why a product stays as it is. */
export interface LeftAlone {
  readonly reason: string
}

const floatTypes = ['F32', 'F16', 'BF16']

/** Undefined for what is no product. @param leastWeights matrices with fewer elements stay */
export function chooseProduct(
  node: OnnxNode,
  scope: Scope,
  leastWeights: number,
): Product | LeftAlone | undefined {
  if (!isOnnxDomain(node.domain)) return undefined
  if (node.opType === 'MatMul') return chosen(node, scope, leastWeights, { turned: false, bias: undefined })
  if (node.opType !== 'Gemm') return undefined
  const bias = node.inputs[2] || undefined
  const number = (name: string, otherwise: number): number => {
    const attribute = node.attributes.get(name)
    return attribute?.kind === 'int' || attribute?.kind === 'float' ? Number(attribute.value) : otherwise
  }
  if (number('transA', 0) !== 0) return { reason: 'its first input is transposed (transA)' }
  if (number('alpha', 1) !== 1) return { reason: `its product is scaled (alpha is ${number('alpha', 1)})` }
  if (bias !== undefined && number('beta', 1) !== 1)
    return { reason: `its bias is scaled (beta is ${number('beta', 1)})` }
  return chosen(node, scope, leastWeights, { turned: number('transB', 0) !== 0, bias })
}

function chosen(
  node: OnnxNode,
  scope: Scope,
  leastWeights: number,
  form: Omit<Product, 'weight'>,
): Product | LeftAlone {
  const weight = constantOf(node.inputs[1] ?? '', scope)
  if (!weight) return { reason: 'its second input is computed' }
  const { type, shape } = weight.tensor
  if (weight.replaceable) return { reason: 'its matrix can be replaced by an input of the graph' }
  if (!floatTypes.includes(type)) return { reason: `its matrix is ${type}; F32, F16 and BF16 are quantised` }
  if (shape.length !== 2) return { reason: `its second input has the shape [${shape}]; a matrix is needed` }
  const count = elementCount(shape)!
  if (count < leastWeights || count === 0)
    return { reason: `its matrix has ${count} elements, fewer than ${leastWeights}` }
  const [input] = node.inputs
  const known = [...scope.graph.inputs, ...(scope.graph.values ?? [])].find(({ name }) => name === input)
  if (known?.shape?.length === 1) return { reason: 'its first input is a vector; a matrix is needed' }
  return { weight, ...form }
}
