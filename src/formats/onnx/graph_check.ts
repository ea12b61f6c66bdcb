/** What a graph must be before it is written: every value has one source, which comes before its uses. */
import { OptionError, printable } from '../../tensor/errors.ts'
import { elementCount } from '../archive.ts'
import { elementBytes, elementTypeOf } from './element_types.ts'
import type { OnnxGraph, OnnxModel, OnnxNode, OnnxTensor } from './graph.ts'
import { isOnnxDomain, labelOf, subgraphsOf } from './tensor_names.ts'

const refuse = (subject: string, what: string, facts: Record<string, string | number> = {}) =>
  new OptionError(`${printable(subject)}: ${what}`, {
    code: 'PARE_E_ONNX_GRAPH',
    facts: { subject, ...facts },
  })

/** @throws OptionError that names the node, value or tensor. */
export function checkModel({ graph, opsets }: OnnxModel): void {
  const domains = new Set([...opsets.keys()].map((domain) => (isOnnxDomain(domain) ? '' : domain)))
  checkGraph(graph, new Set(), domains)
}

/** Bytes of a tensor that can be stored. @throws OptionError for a type or shape that cannot, or data of another size. */
export function tensorBytes({ name, type, shape, data }: OnnxTensor): number {
  const element = elementTypeOf(type)
  const count = elementCount(shape)
  const bytes = element && count !== undefined ? elementBytes(element, count) : undefined
  if (bytes === undefined)
    throw refuse(
      name,
      `ONNX cannot store shape [${shape}] of type ${printable(type)}; choose one of the types of safetensors`,
    )
  if (data && data.length !== bytes)
    throw refuse(
      name,
      `${type} of shape [${shape}] has ${bytes} bytes, its data ${data.length}; give the whole tensor`,
      { bytes, found: data.length },
    )
  return bytes
}

/** @param outer names of values that are there already, in the graphs around this one */
function checkGraph(graph: OnnxGraph, outer: ReadonlySet<string>, domains: ReadonlySet<string>): void {
  const known = new Set(outer)
  const own = new Set<string>()
  const define = (name: string): void => {
    if (own.has(name))
      throw refuse(name, `two things of graph ${printable(graph.name)} have this name; rename one`)
    own.add(name)
    known.add(name)
  }
  for (const { name } of graph.inputs) define(name)
  for (const tensor of graph.initializers) {
    tensorBytes(tensor)
    // An initialiser with the name of an input is its default.
    if (!graph.inputs.some(({ name }) => name === tensor.name)) define(tensor.name)
  }
  for (const [index, node] of graph.nodes.entries()) {
    checkNode(node, labelOf(node, index), known, domains)
    for (const name of node.outputs) if (name !== '') define(name)
  }
  for (const { name } of graph.outputs)
    if (!known.has(name)) throw refuse(name, 'the output comes from no node; correct its name')
}

function checkNode(
  node: OnnxNode,
  label: string,
  known: ReadonlySet<string>,
  domains: ReadonlySet<string>,
): void {
  const domain = isOnnxDomain(node.domain) ? '' : node.domain
  if (!domains.has(domain))
    throw refuse(label, `needs the operators of ${printable(domain || 'ONNX')}; give their version in opsets`)
  for (const name of node.inputs)
    if (name !== '' && !known.has(name))
      throw refuse(
        label,
        `takes ${printable(name)}, which nothing before it gives; order the nodes or correct the name`,
      )
  for (const attribute of node.attributes.values()) {
    const tensors =
      attribute.kind === 'tensor' ? [attribute.value] : attribute.kind === 'tensors' ? attribute.value : []
    for (const tensor of tensors) {
      tensorBytes(tensor)
      if (!tensor.data) throw refuse(label, 'has a tensor as attribute without its bytes; give data')
    }
  }
  for (const [, inner] of subgraphsOf(node)) checkGraph(inner, known, domains)
}
