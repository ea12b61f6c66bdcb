/** Encodes a model as ModelProto, with room left for the tensors whose bytes come later. */
import { OptionError, printable } from '../../tensor/errors.ts'
import { attributeTypes } from './attribute_reader.ts'
import { elementTypeOf } from './element_types.ts'
import type { OnnxAttribute, OnnxGraph, OnnxModel, OnnxNode, OnnxTensor, OnnxValue } from './graph.ts'
import { tensorBytes } from './graph_check.ts'
import { MessageWriter, type Part } from './protobuf_writer.ts'

/** Where a tensor stands in another file; undefined: in the model itself. */
export interface ExternalPlace {
  readonly location: string
  readonly offset: number
  readonly bytes: number
}
export type PlaceOf = (tensor: OnnxTensor) => ExternalPlace | undefined

export function encodeModel(model: OnnxModel, placeOf: PlaceOf): Part[] {
  const { graph, opsets, irVersion = 10, producer = 'pare', metadata = new Map() } = model
  const message = new MessageWriter().whole(1, irVersion).text(2, producer)
  message.message(7, encodeGraph(graph, placeOf))
  for (const [domain, version] of opsets) message.message(8, encodeOpset(domain, version))
  for (const [key, value] of metadata) message.message(14, encodePair(key, value))
  return message.parts
}

export function encodeOpset(domain: string, version: number): Part[] {
  const message = new MessageWriter()
  if (domain !== '') message.text(1, domain)
  return message.whole(2, version).parts
}

export const encodePair = (key: string, value: string): Part[] =>
  new MessageWriter().text(1, key).text(2, value).parts

function encodeGraph(graph: OnnxGraph, placeOf: PlaceOf): Part[] {
  const message = new MessageWriter()
  for (const node of graph.nodes) message.message(1, encodeNode(node, placeOf))
  message.text(2, graph.name)
  for (const tensor of graph.initializers) message.message(5, encodeTensor(tensor, placeOf(tensor)))
  for (const value of graph.inputs) message.message(11, encodeValue(value))
  for (const value of graph.outputs) message.message(12, encodeValue(value))
  for (const value of graph.values ?? []) message.message(13, encodeValue(value))
  return message.parts
}

export function encodeNode(node: OnnxNode, placeOf: PlaceOf = () => undefined): Part[] {
  const message = new MessageWriter()
  for (const name of node.inputs) message.text(1, name)
  for (const name of node.outputs) message.text(2, name)
  if (node.name !== '') message.text(3, node.name)
  message.text(4, node.opType)
  for (const [name, attribute] of node.attributes)
    message.message(5, encodeAttribute(name, attribute, placeOf))
  if (node.domain !== '') message.text(7, node.domain)
  return message.parts
}

export function encodeAttribute(
  name: string,
  attribute: OnnxAttribute,
  placeOf: PlaceOf = () => undefined,
): Part[] {
  if (attribute.kind === 'other')
    throw new OptionError(
      `${printable(name)}: attributes of this kind (${attribute.value}) are not written; rewrite the file as it is`,
      { code: 'PARE_E_ONNX_GRAPH', facts: { attribute: name } },
    )
  const message = new MessageWriter().text(1, name)
  const { kind, value } = attribute
  if (kind === 'float') message.float(2, value)
  else if (kind === 'int') message.whole(3, value)
  else if (kind === 'string') putText(message, 4, value)
  else if (kind === 'tensor') message.message(5, encodeTensor(value))
  else if (kind === 'graph') message.message(6, encodeGraph(value, placeOf))
  else if (kind === 'floats') for (const item of value) message.float(7, item)
  else if (kind === 'ints') for (const item of value) message.whole(8, item)
  else if (kind === 'strings') for (const item of value) putText(message, 9, item)
  else if (kind === 'tensors') for (const item of value) message.message(10, encodeTensor(item))
  else for (const item of value) message.message(11, encodeGraph(item, placeOf))
  return message.whole(20, attributeTypes[kind]).parts
}

function putText(message: MessageWriter, field: number, value: string | Uint8Array): void {
  if (typeof value === 'string') message.text(field, value)
  else message.bytes(field, value)
}

export function encodeTensor(tensor: OnnxTensor, place?: ExternalPlace): Part[] {
  const { name, type, shape, data } = tensor
  const message = new MessageWriter()
  for (const size of shape) message.whole(1, size)
  message.whole(2, elementTypeOf(type)!.id)
  if (name !== '') message.text(8, name)
  if (place) return message.append(encodeExternal(place)).whole(14, 1).parts
  return message.message(9, [data ?? { name, bytes: tensorBytes(tensor) }]).parts
}

/** The entries of `external_data`, as fields of a tensor. */
export function encodeExternal({ location, offset, bytes }: ExternalPlace): Part[] {
  const message = new MessageWriter()
  for (const [key, value] of Object.entries({ location, offset, length: bytes }))
    message.message(13, encodePair(key, String(value)))
  return message.parts
}

export function encodeValue({ name, type, shape }: OnnxValue): Part[] {
  const element = type === undefined ? undefined : elementTypeOf(type)
  if (type !== undefined && !element)
    throw new OptionError(
      `${printable(name)}: a value of type ${printable(type)} is not written; only tensors are`,
      {
        code: 'PARE_E_ONNX_GRAPH',
        facts: { value: name, type },
      },
    )
  const message = new MessageWriter().text(1, name)
  if (!element) return message.parts
  const tensor = new MessageWriter().whole(1, element.id)
  if (shape) {
    const axes = new MessageWriter()
    for (const size of shape) {
      const axis = new MessageWriter()
      if (typeof size === 'number') axis.whole(1, size)
      else if (size !== null) axis.text(2, size)
      axes.message(1, axis.parts)
    }
    tensor.message(2, axes.parts)
  }
  return message.message(2, new MessageWriter().message(1, tensor.parts).parts).parts
}
