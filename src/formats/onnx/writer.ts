/** Writes ONNX files: the graph at once, the weights as they come. */
import { OptionError, printable } from '../../tensor/errors.ts'
import type { ArchiveWriter } from '../archive.ts'
import type { ByteSource } from '../file.ts'
import { placedWriter } from '../placed_writer.ts'
import {
  type ExternalFile,
  type ExternalOptions,
  layOutExternal,
  leastExternalBytes,
  startExternal,
} from './external_layout.ts'
import type { OnnxGraph, OnnxModel, OnnxTensor } from './graph.ts'
import { checkModel, tensorBytes } from './graph_check.ts'
import { encodeModel } from './model_writer.ts'
import { longestMessage, type Part, partsLength, placeMessage } from './protobuf_writer.ts'
import { subgraphsOf } from './tensor_names.ts'

/**
 * Starts a model: one file, or one with its larger tensors in files beside it (`external_data`). Initialisers without
 * `data` are appended to the writer, in any order and in parts, also those of graphs inside of nodes: each needs a name
 * of its own. Nothing stands under its final name before `finish`.
 *
 * @throws OptionError for a graph whose values have no source or two, and for tensors that cannot be stored.
 * @example
 * const writer = createOnnx('line.onnx', { graph, opsets: new Map([['', 21]]) })
 * writer.append('w', new Uint8Array(32))
 * writer.finish()
 */
export function createOnnx(path: string, model: OnnxModel, options: ExternalOptions = {}): ArchiveWriter {
  const { parts, external } = layOut(path, model, options)
  return startModel(path, parts, external)
}

/**
 * The files that `createOnnx` makes of the same arguments, the model's own first, with their bytes.
 *
 * @throws OptionError as `createOnnx`
 * @example onnxFiles('model.onnx', model, { externalData: true }).map(({ path }) => path) // model.onnx, model.onnx_data
 */
export function onnxFiles(
  path: string,
  model: OnnxModel,
  options: ExternalOptions = {},
): { readonly path: string; readonly bytes: number }[] {
  const { parts, external } = layOut(path, model, options)
  const beside = external.map((file) => ({ path: file.path, bytes: file.size }))
  return [{ path, bytes: partsLength(parts) }, ...beside]
}

function layOut(path: string, model: OnnxModel, options: ExternalOptions) {
  checkModel(model)
  const later = appendedTensors(model.graph)
  const inline = encodeModel(model, () => undefined)
  const external = options.externalData ?? partsLength(inline) > longestMessage
  if (!external) return { parts: inline, external: [] }
  const large = later.filter(({ bytes }) => bytes >= leastExternalBytes)
  const { files, places } = layOutExternal(path, large, options.maxChunkBytes)
  const parts = encodeModel(model, ({ name, data }) => (data ? undefined : places.get(name)))
  return { parts, external: files }
}

/**
 * Starts a model of encoded parts and the files beside it. The model's own file gets its name last, so that it never
 * stands there without its weights.
 *
 * @param source what copied parts refer to
 */
export function startModel(
  path: string,
  parts: readonly Part[],
  external: readonly ExternalFile[],
  source?: ByteSource,
): ArchiveWriter {
  const bytes = partsLength(parts)
  if (bytes > longestMessage)
    throw new OptionError(
      `${printable(path)}: an ONNX file has at most ${longestMessage} bytes, this one would have ${bytes}; keep its tensors in files beside it (externalData)`,
      { code: 'PARE_E_ONNX_SIZE', facts: { path, bytes } },
    )
  const beside = startExternal(external)
  try {
    return placedWriter([...beside, placeMessage(path, parts, source)])
  } catch (error) {
    for (const { output } of beside) output.abort()
    throw error
  }
}

/** Initialisers without bytes, of all graphs. */
function appendedTensors(graph: OnnxGraph): { name: string; bytes: number }[] {
  const found = new Map<string, { name: string; bytes: number }>()
  const visit = (inner: OnnxGraph): void => {
    for (const tensor of inner.initializers) if (!tensor.data) add(tensor)
    for (const node of inner.nodes) for (const [, deeper] of subgraphsOf(node)) visit(deeper)
  }
  const add = (tensor: OnnxTensor): void => {
    const { name } = tensor
    if (found.has(name))
      throw new OptionError(
        `${printable(name)}: two graphs have a tensor of this name to append; rename one`,
        {
          code: 'PARE_E_DUPLICATE',
          facts: { tensor: name },
        },
      )
    found.set(name, { name, bytes: tensorBytes(tensor) })
  }
  visit(graph)
  return [...found.values()]
}
