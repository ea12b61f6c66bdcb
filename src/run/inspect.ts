/** What a model file or folder holds, from its headers. Works without the native core. */
import { join } from 'node:path'
import type { TensorArchive } from '../formats/archive.ts'
import { openGguf } from '../formats/gguf/container.ts'
import { isRecord } from '../formats/json.ts'
import { openOnnx } from '../formats/onnx/onnx.ts'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { readJsonFile } from '../formats/tokenizer/tokenizer.ts'
import { openTorch } from '../formats/torch/torch.ts'
import { openGgufModel } from '../models/gguf_model.ts'
import { openFolderModel, openWeights, sizeOfFiles } from '../models/huggingface_model.ts'
import { isFolder, openModel } from '../models/load_model.ts'
import type { OpenModel } from '../models/open_model.ts'
import { type HubHeaders, readHubHeaders } from '../models/source/hub_headers.ts'
import type { ResolveOptions } from '../models/source/resolved.ts'
import { parseSource, resolveSource } from '../models/source/source.ts'
import { checkIsGguf } from '../models/wrong_file.ts'
import { FormatError, PareError, printable } from '../tensor/errors.ts'
import { type Support, supportOf, unsupported } from './support.ts'

export interface Inspection {
  /** File or folder; of a model that is read by its headers alone, the source. */
  path: string
  format: string
  fileBytes: number
  parameters: number
  metadata: readonly { key: string; value: string }[]
  tensors: readonly { name: string; type: string; shape: readonly number[]; bytes: number; bits: number }[]
  /** Family that Pare computes it as. */
  supported?: string
  /** Why Pare cannot compress it. */
  reason?: string
  /** Each step that Pare knows, and why it cannot be done with this model. */
  support: readonly Support[]
  /** The commit on the hub, where only headers were fetched. */
  headersOf?: string
}

/**
 * Reads headers only. A model that Pare does not compute is listed too, with the reason.
 *
 * @throws SourceError where nothing can be read at the path, FormatError where the file is damaged.
 * @example inspect('model.gguf').tensors
 */
export function inspect(path: string): Inspection {
  const folder = isFolder(path)
  const archive = openArchive(path, folder)
  try {
    return {
      path,
      ...contents(archive, folder ? path : undefined, sizeOfFiles(archive)),
      ...uses(() => openForUse(path, folder || archive.format === 'gguf')),
    }
  } finally {
    archive.close()
  }
}

/**
 * `inspect` for any source. Of `hf:ORG/NAME[@REVISION]` only configuration, tokenizer and headers are fetched, unless
 * the whole model is in the cache; packages are fetched whole.
 *
 * @throws SourceError where the source cannot be reached, FormatError where a header is damaged, AbortError.
 * @example (await inspectSource('hf:HuggingFaceTB/SmolLM2-135M')).support
 */
export async function inspectSource(source: string, options: ResolveOptions = {}): Promise<Inspection> {
  const spec = parseSource(source)
  if (spec.kind !== 'hf') return inspect((await resolveSource(spec, options)).path)
  const environment = options.environment ?? process.env
  const found = await readHubHeaders(spec, { ...options, environment })
  if ('resolved' in found) return inspect(found.resolved.path)
  const { headers } = found
  return headers.using(() => inspectHeaders(headers))
}

function inspectHeaders(headers: HubHeaders): Inspection {
  const { path, name, fileBytes, kind, commit, spec } = headers
  const isGguf = kind === 'gguf'
  return {
    path: spec,
    headersOf: commit,
    ...contents(isGguf ? headers.openGguf() : headers.openArchive(), isGguf ? undefined : path, fileBytes),
    ...uses(() =>
      isGguf
        ? openGgufModel(path, name, { archive: headers.openGguf(), fileBytes })
        : openFolderModel(path, name, { archive: headers.openArchive(), fileBytes }),
    ),
  }
}

type Contents = Pick<Inspection, 'format' | 'fileBytes' | 'parameters' | 'metadata' | 'tensors'>

/** @param folder where config.json lies, if the weights have one */
function contents(archive: TensorArchive, folder: string | undefined, fileBytes: number): Contents {
  const tensors = [...archive.tensors.values()].map(({ name, type, shape, bytes }) => {
    const count = shape.reduce((a, b) => a * b, 1)
    return { name, type, shape, bytes, bits: count === 0 ? 0 : (bytes * 8) / count }
  })
  const own = [...archive.metadata].map(([key, value]) => ({ key, value: show(value) }))
  return {
    format: archive.format,
    fileBytes,
    parameters: tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    metadata: folder === undefined ? own : [...folderMetadata(folder), ...own],
    tensors,
  }
}

/** Any file of tensors that Pare reads. */
export function openArchive(path: string, folder: boolean): TensorArchive {
  if (folder) return openWeights(path)
  if (path.endsWith('.safetensors')) return openSafetensors(path)
  if (path.endsWith('.onnx')) return openOnnx(path)
  if (/\.(?:pth|pt|bin|ckpt)$/.test(path)) return openTorch(path)
  checkIsGguf(path, 'a GGUF, safetensors, ONNX or torch file or a model folder')
  return openGguf(path)
}

/** @param complete whether the path says what model it is, and does not hold weights alone */
function openForUse(path: string, complete: boolean): OpenModel {
  if (complete) return openModel(path)
  throw new FormatError(
    `${printable(path)}: a file of weights does not say which model they are of; give the folder with its config.json`,
    { code: 'PARE_E_NO_CONFIG', facts: { path } },
  )
}

/** Files that say how a folder is read. */
const settings: readonly [file: string, prefix: string][] = [
  ['config.json', ''],
  ['quantize_config.json', 'quantize_config.'],
]

function folderMetadata(folder: string): { key: string; value: string }[] {
  return settings.flatMap(([file, prefix]) => entries(readJsonFile(join(folder, file)) ?? {}, prefix, 3))
}

/** Larger maps, such as the names of a thousand classes, stay one value. */
const LARGEST_OPENED = 32

/** A line for every value; maps inside of it are opened, such as `quantization_config.bits`. */
function entries(
  map: Record<string, unknown>,
  prefix: string,
  depth: number,
): { key: string; value: string }[] {
  return Object.entries(map).flatMap(([name, value]) =>
    depth > 1 && isRecord(value) && isOpened(Object.keys(value).length)
      ? entries(value, `${prefix}${name}.`, depth - 1)
      : [{ key: `${prefix}${name}`, value: JSON.stringify(value) ?? '' }],
  )
}

const isOpened = (keys: number) => keys > 0 && keys <= LARGEST_OPENED

/** A metadata value in one line; arrays by their length. */
function show(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  const { value: inner } = value as { value: unknown }
  if (typeof inner === 'object' && inner !== null && 'length' in inner) {
    const array = inner as ArrayLike<unknown>
    const first = Array.from({ length: Math.min(4, array.length) }, (_, i) => String(array[i])).join(', ')
    return `[${first}${array.length > 4 ? `, ... ${array.length} in all` : ''}]`
  }
  return String(inner)
}

type Uses = Pick<Inspection, 'supported' | 'reason' | 'support'>

function uses(openIt: () => OpenModel): Uses {
  let open: OpenModel
  try {
    open = openIt()
  } catch (error) {
    if (error instanceof PareError) return { reason: error.message, support: unsupported(error.message) }
    throw error
  }
  try {
    const { architecture, layers } = open.model.config
    const supported = `a ${architecture} model of ${layers.length} blocks`
    const support = supportOf(open)
    const { reason } = support.find(({ step }) => step === 'compress')!
    return { supported, ...(reason === undefined ? {} : { reason }), support }
  } finally {
    open.close()
  }
}
