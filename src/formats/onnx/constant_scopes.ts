/** Which values of a model are constants, in which graph they stand, and how often they are used. */
import type { OnnxGraph, OnnxNode, OnnxTensor } from './graph.ts'
import type { ParsedModel } from './model_reader.ts'
import { constantTensor, labelOf, subgraphsOf } from './tensor_names.ts'

/** An initialiser or the tensor of a `Constant` node. */
export interface Constant {
  readonly name: string
  readonly tensor: OnnxTensor
  /** What holds it in its graph. */
  readonly holder: OnnxTensor | OnnxNode
  readonly scope: Scope
  /** An input of the graph may replace it. */
  readonly replaceable: boolean
  /** Inputs of nodes and outputs of graphs that it is. */
  uses: number
}

/** A graph with what is known in it. */
export interface Scope {
  readonly graph: OnnxGraph
  /** `''` for the main graph, `NODE.ATTRIBUTE/` below it. */
  readonly path: string
  /** The graph around it, whose values it sees. */
  readonly outer: Scope | undefined
  readonly constants: ReadonlyMap<string, Constant>
  /** Inputs and results of nodes. */
  readonly computed: ReadonlySet<string>
}

/** The constant that a name stands for in a graph; the innermost value of that name counts. */
export function constantOf(name: string, scope: Scope | undefined): Constant | undefined {
  for (let at = scope; at; at = at.outer) {
    const constant = at.constants.get(name)
    if (constant || at.computed.has(name)) return constant
  }
  return undefined
}

/** All graphs of a model but those of functions, each before those inside of its nodes. */
export function scopesOf({ model: { graph, irVersion } }: ParsedModel): Scope[] {
  const scopes: Scope[] = []
  const visit = (graph: OnnxGraph, path: string, outer: Scope | undefined): void => {
    const inputs = new Set(graph.inputs.map(({ name }) => name))
    const constants = new Map<string, Constant>()
    const computed = new Set<string>()
    const scope = { graph, path, outer, constants, computed }
    const add = (name: string, tensor: OnnxTensor, holder: OnnxTensor | OnnxNode, replaceable: boolean) =>
      constants.set(name, { name, tensor, holder, scope, replaceable, uses: 0 })
    // Before version 4 of the format every initialiser had to be an input too.
    for (const tensor of graph.initializers)
      add(tensor.name, tensor, tensor, irVersion >= 4 && inputs.has(tensor.name))
    for (const { name } of graph.inputs) if (!constants.has(name)) computed.add(name)
    for (const node of graph.nodes) {
      const tensor = constantTensor(node)
      const [output] = node.outputs
      if (tensor && output !== undefined) add(output, tensor, node, false)
      else for (const name of node.outputs) computed.add(name)
    }
    scopes.push(scope)
    for (const [index, node] of graph.nodes.entries())
      for (const [attribute, inner] of subgraphsOf(node))
        visit(inner, `${path}${labelOf(node, index)}.${attribute}/`, scope)
  }
  visit(graph, '', undefined)
  for (const scope of scopes) {
    const use = (name: string): void => {
      const constant = constantOf(name, scope)
      if (constant) constant.uses++
    }
    for (const node of scope.graph.nodes) for (const name of node.inputs) use(name)
    for (const { name } of scope.graph.outputs) use(name)
  }
  return scopes
}

/** Every name of a value, so that new ones can be told from them. */
export function valueNames(scopes: readonly Scope[]): Set<string> {
  const names = new Set<string>()
  for (const { constants, computed, graph } of scopes) {
    for (const name of [...constants.keys(), ...computed]) names.add(name)
    for (const { inputs } of graph.nodes) for (const name of inputs) names.add(name)
  }
  return names
}
