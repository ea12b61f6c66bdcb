/**
 * Opens ONNX files: the graph as plain objects, and the weights as an archive of tensors. What is opened is the
 * structure; the bytes of weights are read by position when they are asked for.
 */
import { OptionError, printable } from '../../tensor/errors.ts'
import {
  archiveOver,
  checkRows,
  damaged,
  elementCount,
  type TensorArchive,
  type TensorEntry,
} from '../archive.ts'
import { type ByteSource, openFile } from '../file.ts'
import { elementBytes, elementTypeOf } from './element_types.ts'
import { briefFile, externalPath } from './external_files.ts'
import type { OnnxTensor, OnnxValue } from './graph.ts'
import { type ParsedModel, readModel } from './model_reader.ts'
import { decodeNumbers, type TensorStorage } from './stored_tensor.ts'
import { namedTensors } from './tensor_names.ts'

export interface OnnxArchive extends TensorArchive<string> {
  /** Graph, functions, and where in the file what stands. */
  readonly parsed: ParsedModel
  /** The model's own file. */
  readonly source: ByteSource
  /** Bytes of any tensor of `parsed`, as `bytesOf` gives them. */
  byteLength(tensor: OnnxTensor): number
  /**
   * Little-endian elements of any tensor of `parsed`, also of attributes, which the archive does not list: bytes
   * `start` to `end` (exclusive). @default all of them
   */
  bytesOf(tensor: OnnxTensor, start?: number, end?: number): Uint8Array
}

/**
 * Opens a model; external data must lie below its folder.
 *
 * Tensors are named as the graph names them. Those in a graph inside of a node have the path to it in front,
 * `NODE.ATTRIBUTE/NAME`, and those of the model's own functions `DOMAIN.FUNCTION/NAME`. Sparse initialisers are
 * `NAME.values` and `NAME.indices`. Types are the words of safetensors, and `U4`, `I4`, `U2`, `I2`, `C128` beside them.
 *
 * @throws FormatError for damage, and for files that would take memory without end.
 * @throws SourceError if the file or one with its weights is missing.
 * @example openOnnx('model.onnx').parsed.model.graph.nodes.length
 */
export const openOnnx = (path: string): OnnxArchive => openOnnxSource(openFile(path))

/** As `openOnnx`, over a source that is open already; `close` of the archive closes it. */
export function openOnnxSource(
  source: ByteSource,
  openExternal: (path: string) => ByteSource = briefFile,
): OnnxArchive {
  try {
    return archiveOf(source, openExternal)
  } catch (error) {
    source.close()
    throw error
  }
}

function archiveOf(source: ByteSource, openExternal: (path: string) => ByteSource): OnnxArchive {
  const parsed = readModel(source)
  const sources = new Map([[source.name, source]])
  const places = new Map<OnnxTensor, TensorEntry>()
  for (const [tensor, storage] of parsed.storages)
    places.set(
      tensor,
      entryOf(tensor, storage, source, (location) => {
        const path = externalPath(source.name, location)
        const known = sources.get(path) ?? openExternal(path)
        sources.set(path, known)
        return known
      }),
    )
  const entries = new Map<string, TensorEntry>()
  const loose = new Map<string, () => Uint8Array>()
  const bytesOf: OnnxArchive['bytesOf'] = (tensor, start = 0, end) => {
    const storage = parsed.storages.get(tensor)!
    if (storage.kind === 'numbers') {
      const decoded = decodeNumbers(source, tensor, storage)
      return start === 0 && end === undefined ? decoded : decoded.slice(start, end)
    }
    const entry = places.get(tensor)!
    checkReadable(entry)
    return sources.get(entry.file)!.read(entry.offset + start, (end ?? entry.bytes) - start)
  }
  for (const [name, tensor] of namedTensors(source.name, parsed)) {
    entries.set(name, { ...places.get(tensor)!, name })
    if (parsed.storages.get(tensor)!.kind === 'numbers') loose.set(name, () => bytesOf(tensor))
  }
  const archive = archiveOver('onnx', sources, entries, metadataOf(parsed), checkReadable)
  return {
    ...archive,
    parsed,
    source,
    bytesOf,
    byteLength: (tensor) => places.get(tensor)!.bytes,
    read: (name) => loose.get(name)?.() ?? archive.read(name),
    readRows(name, start, end) {
      const entry = entries.get(name)
      const element = entry && elementTypeOf(entry.type)
      if (!entry || !element) return archive.readRows(name, start, end)
      checkRows(entry, start, end)
      const bits = elementCount(entry.shape.slice(1))! * element.bits
      if (bits % 8 !== 0)
        throw new OptionError(
          `${printable(name)}: a row of ${entry.type} with shape [${entry.shape}] is no whole number of bytes; read the whole tensor`,
          { code: 'PARE_E_ROWS', facts: { tensor: name, type: entry.type, shape: [...entry.shape] } },
        )
      const numbers = loose.get(name)
      if (!numbers) return archive.readRows(name, start, end)
      return numbers().slice((start * bits) / 8, (end * bits) / 8)
    },
  }
}

function entryOf(
  { name, type, shape }: OnnxTensor,
  storage: TensorStorage,
  source: ByteSource,
  external: (location: string) => ByteSource,
): TensorEntry {
  const element = elementTypeOf(type)
  const bytes = storage.kind === 'unread' || !element ? 0 : elementBytes(element, elementCount(shape)!)!
  const entry = { name, type, shape, bytes, offset: 0, file: source.name }
  switch (storage.kind) {
    case 'raw':
      return { ...entry, offset: storage.bytes.start }
    case 'numbers':
      return { ...entry, offset: storage.fields[0]!.start }
    case 'unread':
      return { ...entry, bytes: storage.bytes }
    case 'external': {
      const { name: file, size } = external(storage.location)
      if (storage.offset > size - bytes)
        throw damaged(
          source.name,
          `tensor ${printable(name)} needs ${bytes} bytes at ${storage.offset} of ${printable(storage.location)}, which has ${size}; fetch that file again`,
          'PARE_E_ONNX_LOCATION',
          { tensor: name, offset: storage.offset, bytes, size },
        )
      return { ...entry, file, offset: storage.offset }
    }
  }
}

function checkReadable({ name, type, file }: TensorEntry): void {
  if (elementTypeOf(type)) return
  throw damaged(
    file,
    `tensor ${printable(name)} has the type ${printable(type)}, which Pare does not read; read another tensor`,
    'PARE_E_ONNX_TYPE',
    { tensor: name, type },
  )
}

/** What `inspect` shows: versions, inputs and outputs, and what the file says about itself under `metadata.`. */
function metadataOf({ model, functions }: ParsedModel): Map<string, string> {
  const { irVersion, producer, opsets, graph, metadata } = model
  const initialised = new Set(graph.initializers.map(({ name }) => name))
  return new Map([
    ['ir_version', String(irVersion)],
    ['producer', producer],
    ...[...opsets].map(([domain, version]) => [`opset.${domain || 'ai.onnx'}`, String(version)] as const),
    ['graph', graph.name],
    ['nodes', String(graph.nodes.length)],
    ...graph.inputs
      .filter(({ name }) => !initialised.has(name))
      .map((input) => [`input.${input.name}`, describe(input)] as const),
    ...graph.outputs.map((output) => [`output.${output.name}`, describe(output)] as const),
    ...functions.map(
      ({ domain, name, graph: { nodes } }) =>
        [`function.${domain}.${name}`, `${nodes.length} nodes`] as const,
    ),
    ...[...metadata].map(([key, value]) => [`metadata.${key}`, value] as const),
  ])
}

/** @example `I64 [batch, 4]` */
const describe = ({ type, shape }: OnnxValue): string =>
  `${type ?? 'of any type'}${shape ? ` [${shape.map((size) => size ?? '?').join(', ')}]` : ''}`
