/** Reads an AttributeProto: one of ten kinds of values, which its field 20 names. */
import { printable } from '../../tensor/errors.ts'
import type { OnnxAttribute, OnnxGraph, OnnxTensor } from './graph.ts'
import type { ModelReader } from './model_reader.ts'
import type { Span, Whole } from './protobuf_fields.ts'

/** AttributeProto.AttributeType. */
export const attributeTypes = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
} as const
const kinds = new Map(Object.entries(attributeTypes).map(([kind, type]) => [type as number, kind]))

interface Gathered {
  float: number
  int: Whole
  string: string | Uint8Array
  readonly tensors: OnnxTensor[]
  readonly graphs: OnnxGraph[]
  tensor?: OnnxTensor
  graph?: OnnxGraph
  readonly floats: number[]
  readonly ints: Whole[]
  readonly strings: (string | Uint8Array)[]
}

/** @param depth of the graph that the node stands in */
export function readAttribute(
  reader: ModelReader,
  span: Span,
  depth: number,
): { name: string; value: OnnxAttribute } {
  const found: Gathered = {
    float: 0,
    int: 0,
    string: '',
    tensors: [],
    graphs: [],
    floats: [],
    ints: [],
    strings: [],
  }
  let [name, type, refers, seen] = ['', 0, false, 0]
  const { file } = reader
  const fields = file.message(span)
  while (fields.next()) {
    switch (fields.number) {
      case 1:
        name = fields.text()
        continue
      case 20:
        type = fields.natural('the type of an attribute')
        continue
      case 21:
        refers = true
        continue
      case 2:
        found.float = fields.float()
        break
      case 3:
        found.int = fields.whole()
        break
      case 4:
        found.string = file.textOrBytes(fields.value())
        break
      case 5:
        if (found.tensor)
          throw file.fail('has an attribute with two tensors where one belongs; it is damaged')
        found.tensor = reader.tensor(fields.value())
        break
      case 6:
        if (found.graph) throw file.fail('has an attribute with two graphs where one belongs; it is damaged')
        found.graph = reader.graph(fields.value(), depth + 1)
        break
      case 7:
        fields.eachFloat((value) => found.floats.push(value))
        break
      case 8:
        fields.eachWhole((value) => found.ints.push(value))
        break
      case 9:
        found.strings.push(file.textOrBytes(fields.value()))
        break
      case 10:
        found.tensors.push(reader.tensor(fields.value()))
        break
      case 11:
        found.graphs.push(reader.graph(fields.value(), depth + 1))
        break
      case 22:
      case 23:
        reader.sparseTensor(fields.value())
        continue
      default:
        continue
    }
    seen = fields.number
  }
  // Files before the type was written hold one value, whose field tells the kind.
  const kind = kinds.get(type) ?? (type === 0 ? kindOfField.get(seen) : undefined)
  if (refers || kind === undefined) return { name, value: { kind: 'other', value: type } }
  const value = found[kind as keyof Gathered]
  if (value === undefined) throw file.fail(`attribute ${printable(name)} has no ${kind}; it is damaged`)
  return { name, value: { kind, value } as OnnxAttribute }
}

const kindOfField = new Map<number, string>([
  [2, 'float'],
  [3, 'int'],
  [4, 'string'],
  [5, 'tensor'],
  [6, 'graph'],
  [7, 'floats'],
  [8, 'ints'],
  [9, 'strings'],
  [10, 'tensors'],
  [11, 'graphs'],
])
