/** Reads a ModelProto into plain objects, with the places in the file that reading weights and rewriting need. */
import type { ByteSource } from '../file.ts'
import { readAttribute } from './attribute_reader.ts'
import { nameOfType } from './element_types.ts'
import type {
  Dimension,
  OnnxAttribute,
  OnnxGraph,
  OnnxModel,
  OnnxNode,
  OnnxTensor,
  OnnxValue,
} from './graph.ts'
import { ProtobufFile } from './protobuf.ts'
import type { Fields, Span } from './protobuf_fields.ts'
import { readPair, readTensor, type TensorStorage } from './stored_tensor.ts'

/** Graphs in graphs: readers of protocol buffers allow 100 messages in each other, and a graph is the fourth. */
const deepest = 32

/** A sparse initialiser; its name is that of `values`. */
export interface SparseTensor {
  readonly values: OnnxTensor
  readonly indices: OnnxTensor
}

/** A function of the model's own, whose nodes are read as those of a graph. */
export interface OnnxFunction {
  readonly domain: string
  readonly name: string
  readonly graph: OnnxGraph
}

export interface ParsedModel {
  readonly model: Required<OnnxModel>
  readonly functions: readonly OnnxFunction[]
  /** Of every dense tensor, wherever it stands. */
  readonly storages: ReadonlyMap<OnnxTensor, TensorStorage>
  readonly sparse: ReadonlyMap<OnnxGraph, readonly SparseTensor[]>
  /** The whole fields of nodes, initialisers and values within their graphs. */
  readonly fields: ReadonlyMap<OnnxNode | OnnxTensor | OnnxValue, Span>
  /** The first field of `opset_import`. */
  readonly opsetField: Span | undefined
  /** Whether there are graphs for training, which are not read. */
  readonly training: boolean
}

/** @throws FormatError where it is no model, damaged, or costs more than a limit. */
export function readModel(source: ByteSource): ParsedModel {
  const file = new ProtobufFile(source)
  const reader = new ModelReader(file)
  return reader.model({ start: 0, end: source.size })
}

/** Of all nodes without any, so that they take no memory for it. */
const noAttributes: OnnxNode['attributes'] = new Map()

/** What is no tensor, by its field in TypeProto. */
const otherTypes = new Map([
  [4, 'SEQUENCE'],
  [5, 'MAP'],
  [7, 'OPAQUE'],
  [8, 'SPARSE'],
  [9, 'OPTIONAL'],
])

/** Gathers the side tables while it walks. */
export class ModelReader {
  readonly file: ProtobufFile
  readonly storages = new Map<OnnxTensor, TensorStorage>()
  readonly sparse = new Map<OnnxGraph, SparseTensor[]>()
  readonly fields = new Map<OnnxNode | OnnxTensor | OnnxValue, Span>()

  constructor(file: ProtobufFile) {
    this.file = file
  }

  model(span: Span): ParsedModel {
    const metadata = new Map<string, string>()
    const opsets = new Map<string, number>()
    const functions: OnnxFunction[] = []
    let [irVersion, producer, training] = [0, '', false]
    let graph: OnnxGraph | undefined
    let opsetField: Span | undefined
    const fields = this.file.message(span)
    while (fields.next()) {
      if (fields.number === 1) irVersion = fields.natural('the version of its format')
      else if (fields.number === 2) producer = fields.text()
      else if (fields.number === 7) {
        if (graph) throw this.file.fail('has two graphs; it is damaged')
        graph = this.graph(fields.value(), 1)
      } else if (fields.number === 8) {
        const { domain, version } = this.#opset(fields.value())
        opsets.set(domain, version)
        opsetField ??= fields.field()
      } else if (fields.number === 14) {
        const { key, value } = readPair(this.file, fields.value())
        metadata.set(key, value)
      } else if (fields.number === 20) training = true
      else if (fields.number === 25) functions.push(this.#function(fields.value()))
    }
    if (!graph) throw this.file.fail('has no graph; it is cut, damaged or no ONNX file')
    const model = { graph, opsets, irVersion, producer, metadata }
    const { storages, sparse } = this
    return { model, functions, storages, sparse, fields: this.fields, opsetField, training }
  }

  graph(span: Span, depth: number): OnnxGraph {
    if (depth > deepest)
      throw this.file.fail(`has graphs in graphs deeper than ${deepest}; it is damaged or hostile`)
    const [nodes, initializers, inputs, outputs, values] = [[], [], [], [], []] as [
      OnnxNode[],
      OnnxTensor[],
      OnnxValue[],
      OnnxValue[],
      OnnxValue[],
    ]
    const sparse: SparseTensor[] = []
    let name = ''
    const fields = this.file.message(span)
    while (fields.next()) {
      if (fields.number === 1) nodes.push(this.#at(fields, this.#node(fields.value(), depth)))
      else if (fields.number === 2) name = fields.text()
      else if (fields.number === 5) initializers.push(this.#at(fields, this.tensor(fields.value())))
      else if (fields.number === 11) inputs.push(this.#at(fields, this.#value(fields.value())))
      else if (fields.number === 12) outputs.push(this.#at(fields, this.#value(fields.value())))
      else if (fields.number === 13) values.push(this.#at(fields, this.#value(fields.value())))
      else if (fields.number === 15) sparse.push(this.sparseTensor(fields.value()))
    }
    const graph = { name, inputs, outputs, nodes, initializers, values }
    if (sparse.length > 0) this.sparse.set(graph, sparse)
    return graph
  }

  tensor(span: Span): OnnxTensor {
    const { tensor, storage } = readTensor(this.file, span)
    this.storages.set(tensor, storage)
    return tensor
  }

  sparseTensor(span: Span): SparseTensor {
    let values: OnnxTensor | undefined
    let indices: OnnxTensor | undefined
    const fields = this.file.message(span)
    while (fields.next()) {
      if (fields.number === 1) values = this.tensor(fields.value())
      else if (fields.number === 2) indices = this.tensor(fields.value())
    }
    if (values && indices) return { values, indices }
    throw this.file.fail('has a sparse tensor without values or indices; it is damaged')
  }

  #at<T extends OnnxNode | OnnxTensor | OnnxValue>(fields: Fields, item: T): T {
    this.fields.set(item, fields.field())
    return item
  }

  #opset(span: Span): { domain: string; version: number } {
    const opset = { domain: '', version: 0 }
    const fields = this.file.message(span)
    while (fields.next()) {
      if (fields.number === 1) opset.domain = fields.text()
      else if (fields.number === 2) opset.version = fields.natural('the version of a set of operators')
    }
    return opset
  }

  #function(span: Span): OnnxFunction {
    let [domain, name] = ['', '']
    const nodes: OnnxNode[] = []
    const fields = this.file.message(span)
    while (fields.next()) {
      if (fields.number === 1) name = fields.text()
      else if (fields.number === 7) nodes.push(this.#node(fields.value(), 1))
      else if (fields.number === 10) domain = fields.text()
    }
    return { domain, name, graph: { name, inputs: [], outputs: [], nodes, initializers: [] } }
  }

  #node(span: Span, depth: number): OnnxNode {
    const [inputs, outputs]: [string[], string[]] = [[], []]
    let attributes: Map<string, OnnxAttribute> | undefined
    let [opType, domain, name] = ['', '', '']
    const fields = this.file.message(span)
    while (fields.next()) {
      if (fields.number === 1) inputs.push(fields.text())
      else if (fields.number === 2) outputs.push(fields.text())
      else if (fields.number === 3) name = fields.text()
      else if (fields.number === 4) opType = fields.text()
      else if (fields.number === 5) {
        const attribute = readAttribute(this, fields.value(), depth)
        attributes ??= new Map()
        if (attributes.has(attribute.name))
          throw this.file.fail('has a node with an attribute twice; it is damaged')
        attributes.set(attribute.name, attribute.value)
      } else if (fields.number === 7) domain = fields.text()
    }
    return { opType, domain, name, inputs, outputs, attributes: attributes ?? noAttributes }
  }

  #value(span: Span): OnnxValue {
    let name = ''
    let type: Pick<OnnxValue, 'type' | 'shape'> = {}
    const fields = this.file.message(span)
    while (fields.next()) {
      if (fields.number === 1) name = fields.text()
      else if (fields.number === 2) type = this.#type(fields.value())
    }
    return { name, ...type }
  }

  #type(span: Span): Pick<OnnxValue, 'type' | 'shape'> {
    const found: { type?: string; shape?: Dimension[] } = {}
    const fields = this.file.part(span)
    while (fields.next()) {
      const other = otherTypes.get(fields.number)
      if (other !== undefined) found.type = other
      if (fields.number !== 1) continue
      const tensor = this.file.part(fields.value())
      while (tensor.next()) {
        if (tensor.number === 1) found.type = nameOfType(tensor.natural('the type of a value'))
        else if (tensor.number === 2) found.shape = this.#shape(tensor.value())
      }
    }
    return found
  }

  #shape(span: Span): Dimension[] {
    const shape: Dimension[] = []
    const fields = this.file.part(span)
    while (fields.next()) {
      if (fields.number !== 1) continue
      let size: Dimension = null
      const dimension = this.file.part(fields.value())
      while (dimension.next()) {
        if (dimension.number === 1) size = Number(dimension.whole())
        else if (dimension.number === 2) size = dimension.text()
      }
      shape.push(size)
    }
    return shape
  }
}
