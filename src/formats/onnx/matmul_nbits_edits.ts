/** The changes of a file that quantised matrices bring: nodes, initialisers, the set of operators, and data in other files. */
import { type ArchiveWriter, damaged } from '../archive.ts'
import type { Constant } from './constant_scopes.ts'
import { type ExternalOptions, layOutExternal, leastExternalBytes } from './external_layout.ts'
import { FieldEdits } from './field_edits.ts'
import { int, node as makeNode, type OnnxNode, type OnnxTensor, value } from './graph.ts'
import { tensorBytes } from './graph_check.ts'
import type { Product } from './matmul_nbits_choice.ts'
import { type MatMulNBitsLayout, sizesOf } from './matmul_nbits_packing.ts'
import {
  type ExternalPlace,
  encodeAttribute,
  encodeExternal,
  encodeNode,
  encodeOpset,
  encodeTensor,
  encodeValue,
} from './model_writer.ts'
import type { OnnxArchive } from './onnx.ts'
import { ProtobufFile } from './protobuf.ts'
import type { Span } from './protobuf_fields.ts'
import { longestMessage, MessageWriter, type Part, partsLength } from './protobuf_writer.ts'
import { startModel } from './writer.ts'

/** Tensors that stand for a matrix. */
export interface QuantizedMatrix {
  readonly layout: MatMulNBitsLayout
  /** Whether the matrix stood as [N, K]. */
  readonly turned: boolean
  readonly codes: OnnxTensor
  /** In the type of the matrix. */
  readonly scales: OnnxTensor
  readonly zeroPoints: OnnxTensor | undefined
  /** Of all three. */
  readonly bytes: number
}

interface Replacement {
  readonly node: OnnxNode
  readonly product: Product
  readonly matrix: QuantizedMatrix
  /** Where MatMulNBits puts its product: the node's own output, or a value in front of the bias. */
  readonly result: string
}

export interface EditOptions extends ExternalOptions {
  readonly symmetric: boolean
  readonly accuracyLevel: number
}

const domain = 'com.microsoft'
const copyChunk = 1 << 23
/** Fields of NodeProto that a replacement writes itself: inputs, operator, attributes, domain, overload. */
const replacedFields = [1, 4, 5, 7, 8]
const outputField = 2

export class QuantizedEdits {
  readonly #archive: OnnxArchive
  readonly #names: Set<string>
  readonly #options: EditOptions
  readonly #nodes: Replacement[] = []
  readonly #weights: { weight: Constant; matrices: readonly QuantizedMatrix[] }[] = []
  /** Tensors in other files that stay, by the name that they are appended under. */
  readonly #kept = new Map<string, OnnxTensor>()

  /** @param names of all values, which new ones keep clear of */
  constructor(archive: OnnxArchive, names: Set<string>, options: EditOptions) {
    this.#archive = archive
    this.#names = names
    this.#options = options
  }

  /** Names for the tensors of a matrix. */
  announce({ name, tensor }: Constant, layout: MatMulNBitsLayout, turned: boolean): QuantizedMatrix {
    const { bits, rows } = layout
    const { blocks, blockBytes, zeroBytes } = sizesOf(layout)
    const codes = { name: this.#fresh(`${name}_Q${bits}`), type: 'U8', shape: [rows, blocks, blockBytes] }
    const scales = { name: this.#fresh(`${name}_scales`), type: tensor.type, shape: [rows * blocks] }
    const zeroPoints = this.#options.symmetric
      ? undefined
      : { name: this.#fresh(`${name}_zero_points`), type: 'U8', shape: [rows * zeroBytes] }
    const bytes = tensorBytes(codes) + tensorBytes(scales) + (zeroPoints ? tensorBytes(zeroPoints) : 0)
    return { layout, turned, codes, scales, zeroPoints, bytes }
  }

  replaceNode(node: OnnxNode, product: Product, matrix: QuantizedMatrix): void {
    const output = node.outputs[0]!
    const result = product.bias === undefined ? output : this.#fresh(`${output}_product`)
    this.#nodes.push({ node, product, matrix, result })
  }

  /** Puts matrices in the place of a constant, which goes where nothing uses it any more. */
  replaceWeight(weight: Constant, matrices: readonly QuantizedMatrix[]): void {
    this.#weights.push({ weight, matrices })
  }

  /** Starts the new file; every announced tensor is appended, then `copyKept` called. */
  start(target: string): ArchiveWriter {
    const { parsed, source } = this.#archive
    const dropped = new Set(
      this.#weights.filter(({ weight }) => weight.uses === 0).map(({ weight }) => weight.tensor),
    )
    for (const [tensor, storage] of parsed.storages)
      if (storage.kind === 'external' && !dropped.has(tensor)) this.#kept.set(`\0${this.#kept.size}`, tensor)
    const fresh = this.#weights.flatMap(({ matrices }) =>
      matrices.flatMap(({ codes, scales, zeroPoints }) => [
        codes,
        scales,
        ...(zeroPoints ? [zeroPoints] : []),
      ]),
    )
    const inline = this.#edited(new Map()).apply(source)
    const outside = [...parsed.storages.values()].some(({ kind }) => kind === 'external')
    const external = this.#options.externalData ?? (outside || partsLength(inline) > longestMessage)
    if (!external && this.#kept.size === 0) return startModel(target, inline, [], source)
    const large = external
      ? fresh.flatMap(({ name, type, shape }) => {
          const bytes = tensorBytes({ name, type, shape })
          return bytes < leastExternalBytes ? [] : [{ name, bytes }]
        })
      : []
    const kept = [...this.#kept].map(([name, tensor]) => ({ name, bytes: this.#archive.byteLength(tensor) }))
    const { files, places } = layOutExternal(target, [...large, ...kept], this.#options.maxChunkBytes)
    return startModel(target, this.#edited(places).apply(source), files, source)
  }

  /** Appends what stays in other files. */
  copyKept(writer: ArchiveWriter): void {
    for (const [name, tensor] of this.#kept) {
      const bytes = this.#archive.byteLength(tensor)
      for (let start = 0; start < bytes; start += copyChunk)
        writer.append(name, this.#archive.bytesOf(tensor, start, Math.min(bytes, start + copyChunk)))
    }
  }

  #edited(places: ReadonlyMap<string, ExternalPlace>): FieldEdits {
    const { parsed } = this.#archive
    const edits = new FieldEdits()
    for (const replacement of this.#nodes)
      edits.replace(parsed.fields.get(replacement.node)!, this.#newNodes(replacement))
    for (const { weight, matrices } of this.#weights) this.#exchange(edits, weight, matrices, places)
    for (const [name, tensor] of this.#kept) {
      const storage = parsed.storages.get(tensor)!
      const place = places.get(name)
      if (storage.kind !== 'external' || !place) continue
      for (const field of storage.fields) edits.drop(field)
      edits.replace(storage.fields[0]!, encodeExternal(place))
    }
    if (this.#nodes.length > 0 && !parsed.model.opsets.has(domain)) {
      if (!parsed.opsetField)
        throw damaged(
          this.#archive.source.name,
          'names no version of its operators; convert it with the onnx package first',
          'PARE_E_ONNX',
        )
      edits.insertBefore(parsed.opsetField, new MessageWriter().message(8, encodeOpset(domain, 1)).parts)
    }
    return edits
  }

  /** Fields of GraphProto instead of that of the node. */
  #newNodes({ node, product: { bias }, matrix, result }: Replacement): Part[] {
    const { layout, codes, scales, zeroPoints } = matrix
    const { bits, blockSize, rows, columns } = layout
    const [input, output] = [node.inputs[0]!, node.outputs[0]!]
    const message = new MessageWriter()
    const inputs = [input, codes.name, scales.name, ...(zeroPoints ? [zeroPoints.name] : [])]
    for (const name of inputs) message.text(1, name)
    if (bias !== undefined) message.text(outputField, result)
    message.append(this.#otherFields(node, bias === undefined ? [] : [outputField]))
    message.text(4, 'MatMulNBits')
    const { accuracyLevel } = this.#options
    const attributes = {
      K: columns,
      N: rows,
      bits,
      block_size: blockSize,
      ...(accuracyLevel > 0 ? { accuracy_level: accuracyLevel } : {}),
    }
    for (const [name, value] of Object.entries(attributes))
      message.message(5, encodeAttribute(name, int(value)))
    message.text(7, domain)
    const graph = new MessageWriter().message(1, message.parts)
    if (bias !== undefined) {
      const name = node.name === '' ? '' : `${node.name}_bias`
      graph.message(1, encodeNode(makeNode('Add', [result, bias], [output], {}, { name })))
    }
    return graph.parts
  }

  /** Fields of a node that a replacement keeps, copied. */
  #otherFields(node: OnnxNode, alsoReplaced: readonly number[]): Span[] {
    const file = new ProtobufFile(this.#archive.source)
    const outer = file.part(this.#archive.parsed.fields.get(node)!)
    outer.next()
    const fields = file.part(outer.value())
    const kept: Span[] = []
    while (fields.next())
      if (!replacedFields.includes(fields.number) && !alsoReplaced.includes(fields.number))
        kept.push(fields.field())
    return kept
  }

  #exchange(
    edits: FieldEdits,
    { name, tensor, holder, scope, uses }: Constant,
    matrices: readonly QuantizedMatrix[],
    places: ReadonlyMap<string, ExternalPlace>,
  ): void {
    const { parsed } = this.#archive
    const field = parsed.fields.get(holder)!
    const all = matrices.flatMap(({ codes, scales, zeroPoints }) => [
      codes,
      scales,
      ...(zeroPoints ? [zeroPoints] : []),
    ])
    for (const made of all)
      edits.insertBefore(
        field,
        new MessageWriter().message(5, encodeTensor(made, places.get(made.name))).parts,
      )
    if (uses === 0) edits.drop(field)
    // Of initialisers that are inputs too, as all were before version 4 of the format.
    const input = holder === tensor ? scope.graph.inputs.find((each) => each.name === name) : undefined
    if (input) {
      const inputField = parsed.fields.get(input)!
      for (const made of all)
        edits.insertBefore(
          inputField,
          new MessageWriter().message(11, encodeValue(value(made.name, made.type, made.shape))).parts,
        )
      if (uses === 0) edits.drop(inputField)
    }
    if (uses === 0)
      for (const known of scope.graph.values ?? [])
        if (known.name === name) edits.drop(parsed.fields.get(known)!)
  }

  /** A name that no value has. */
  #fresh(wanted: string): string {
    let name = wanted
    for (let i = 1; this.#names.has(name); i++) name = `${wanted}_${i}`
    this.#names.add(name)
    return name
  }
}
