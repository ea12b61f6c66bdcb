/** The names under which the weights of a model are listed: those of the graph, with the path to a graph inside of a node. */
import { printable } from '../../tensor/errors.ts'
import { damaged } from '../archive.ts'
import type { OnnxGraph, OnnxNode, OnnxTensor } from './graph.ts'
import type { ParsedModel } from './model_reader.ts'

/** Characters of all names together: a long path stands in front of every name below it. */
const mostCharacters = 1 << 24

/** The graphs inside of a node, by the attribute (and the place in it) that holds them. */
export function subgraphsOf({ attributes }: OnnxNode): [label: string, graph: OnnxGraph][] {
  return [...attributes].flatMap(([name, attribute]): [string, OnnxGraph][] => {
    if (attribute.kind === 'graph') return [[name, attribute.value]]
    return attribute.kind === 'graphs' ? attribute.value.map((graph, i) => [`${name}[${i}]`, graph]) : []
  })
}

/** The tensor that a `Constant` gives, where it holds one. */
export function constantTensor({ opType, domain, attributes }: OnnxNode): OnnxTensor | undefined {
  const value = opType === 'Constant' && isOnnxDomain(domain) ? attributes.get('value') : undefined
  return value?.kind === 'tensor' ? value.value : undefined
}

/** The operators of ONNX itself have two spellings. */
export const isOnnxDomain = (domain: string): boolean => domain === '' || domain === 'ai.onnx'

/** How a node is called: by its name, or by its operator and its place in the graph. */
export const labelOf = ({ name, opType }: OnnxNode, index: number): string => name || `${opType}#${index}`

/**
 * Initialisers, sparse ones and constants of all graphs and functions.
 *
 * @throws FormatError where two have the same name, or the names have no end.
 */
export function namedTensors(
  file: string,
  { model, functions, sparse }: ParsedModel,
): Map<string, OnnxTensor> {
  const named = new Map<string, OnnxTensor>()
  let characters = 0
  const add = (prefix: string, name: string, tensor: OnnxTensor): void => {
    const full = prefix + name
    characters += full.length
    if (characters > mostCharacters)
      throw damaged(file, 'has names without end; it is damaged or hostile', 'PARE_E_ONNX')
    if (named.has(full))
      throw damaged(file, `two tensors have the name ${printable(full)}; it is damaged`, 'PARE_E_ONNX', {
        tensor: full,
      })
    named.set(full, tensor)
  }
  const prefixes = new Set<string>()
  const visit = (graph: OnnxGraph, prefix: string): void => {
    for (const tensor of graph.initializers) add(prefix, tensor.name, tensor)
    for (const { values, indices } of sparse.get(graph) ?? []) {
      add(prefix, `${values.name}.values`, values)
      add(prefix, `${values.name}.indices`, indices)
    }
    for (const [index, node] of graph.nodes.entries()) {
      const constant = constantTensor(node)
      if (constant) add(prefix, node.outputs[0] ?? '', constant)
      for (const [attribute, inner] of subgraphsOf(node)) {
        const plain = `${prefix}${labelOf(node, index)}.${attribute}/`
        // Names of nodes need not differ.
        const own = prefixes.has(plain) ? `${prefix}${labelOf(node, index)}#${index}.${attribute}/` : plain
        prefixes.add(own)
        characters += own.length
        visit(inner, own)
      }
    }
  }
  visit(model.graph, '')
  for (const { domain, name, graph } of functions) visit(graph, `${domain}.${name}/`)
  return named
}
