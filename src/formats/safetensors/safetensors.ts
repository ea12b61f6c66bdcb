/**
 * Reads safetensors: one file, or the shards of a folder with their index.
 *
 * Index: {"metadata": {"total_size": bytes}, "weight_map": {tensor name: file name}}
 */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { FormatError, printable } from '../../tensor/errors.ts'
import { archiveOver, damaged, type TensorArchive, type TensorEntry } from '../archive.ts'
import { type ByteSource, openFile } from '../file.ts'
import { isRecord, strictJson } from '../json.ts'
import { readHeader } from './header.ts'

export const SINGLE_FILE = 'model.safetensors'
export const INDEX_FILE = 'model.safetensors.index.json'
/** The index of the largest public models has some megabytes. */
const LARGEST_INDEX = 100_000_000

/**
 * Opens a `.safetensors` file, a `.index.json`, or a folder: there `model.safetensors` is taken first, then
 * the index, then the only file with that ending. Headers are read and checked, data is not.
 *
 * Metadata of shards is merged; the first shard that gives a key decides.
 *
 * @throws FormatError if a rule of the format is broken; every file is closed again.
 * @throws SourceError if a file is missing.
 * @example
 * const archive = openSafetensors('model.safetensors')
 * const bytes = archive.read('lm_head.weight')
 */
export function openSafetensors(path: string): TensorArchive<string> {
  const target = existsSync(path) && statSync(path).isDirectory() ? inFolder(path) : path
  return target.endsWith('.json') ? openIndex(target) : openSources([openFile(target)])
}

/** As `openSafetensors`, over sources that are open already; `close` of the archive closes them. */
export function openSources(
  sources: readonly ByteSource[],
  shardOf: ReadonlyMap<string, string> = new Map(),
): TensorArchive<string> {
  try {
    const tensors = new Map<string, TensorEntry>()
    const metadata = new Map<string, string>()
    for (const source of sources) {
      const header = readHeader(source)
      for (const [key, value] of header.metadata) if (!metadata.has(key)) metadata.set(key, value)
      for (const entry of header.tensors) place(tensors, entry, shardOf.get(entry.name))
    }
    for (const [name, file] of shardOf)
      if (tensors.get(name)?.file !== file)
        throw damaged(
          file,
          `the index promises tensor ${printable(name)} here and it is not; fetch the shard again`,
          'PARE_E_SAFETENSORS_INDEX',
          { tensor: name },
        )
    return archiveOver('safetensors', new Map(sources.map((s) => [s.name, s])), tensors, metadata)
  } catch (error) {
    for (const source of sources) source.close()
    throw error
  }
}

/** Where two shards hold one name, the index must say which counts. */
function place(tensors: Map<string, TensorEntry>, entry: TensorEntry, shard: string | undefined): void {
  if (shard !== undefined && shard !== entry.file) return
  const other = tensors.get(entry.name)
  if (other)
    throw damaged(
      entry.file,
      `tensor ${printable(entry.name)} stands in ${printable(other.file)} too and the index names neither; remove one`,
      'PARE_E_SAFETENSORS_INDEX',
      { tensor: entry.name },
    )
  tensors.set(entry.name, entry)
}

function inFolder(folder: string): string {
  for (const name of [SINGLE_FILE, INDEX_FILE]) if (existsSync(join(folder, name))) return join(folder, name)
  const found = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))
  const [, at, count] = /-(\d{5})-of-(\d{5})\.safetensors$/.exec(found[0] ?? '') ?? []
  if (found.length === 1 && (count === undefined || Number(count) <= 1)) return join(folder, found[0]!)
  if (found.length === 1)
    throw new FormatError(
      `${printable(folder)}: holds part ${Number(at)} of ${Number(count)} of a model and no ${INDEX_FILE}; fetch the other files`,
      { code: 'PARE_E_SAFETENSORS_MISSING', facts: { path: folder, found: 1 } },
    )
  throw new FormatError(
    found.length === 0
      ? `${printable(folder)}: holds no .safetensors file; give the folder or file of a model`
      : `${printable(folder)}: holds ${found.length} .safetensors files and no ${INDEX_FILE}; fetch the index or name one file`,
    { code: 'PARE_E_SAFETENSORS_MISSING', facts: { path: folder, found: found.length } },
  )
}

/**
 * Opens the shards of an index.
 *
 * @param open gives the source of a shard by the path beside the index; its name must be that path @default openFile
 */
export function openIndex(
  path: string,
  open: (path: string) => ByteSource = openFile,
): TensorArchive<string> {
  const map = readIndex(path)
  const sources: ByteSource[] = []
  try {
    for (const name of new Set(map.values())) {
      const shard = join(dirname(path), name)
      if (open === openFile && !existsSync(shard))
        throw new FormatError(
          `${printable(shard)}: is not there, and ${printable(basename(path))} names it; fetch it again`,
          { code: 'PARE_E_SAFETENSORS_MISSING', facts: { path: shard, index: path } },
        )
      sources.push(open(shard))
    }
  } catch (error) {
    for (const source of sources) source.close()
    throw error
  }
  return openSources(sources, new Map([...map].map(([tensor, file]) => [tensor, join(dirname(path), file)])))
}

/** The weight map of an index: tensor name to the plain name of a file in the same folder. */
function readIndex(path: string): Map<string, string> {
  const source = openFile(path)
  let text: string
  try {
    if (source.size > LARGEST_INDEX)
      throw damaged(
        path,
        `an index has at most ${LARGEST_INDEX} bytes, this one ${source.size}; it is no index`,
        'PARE_E_SAFETENSORS_INDEX',
        { size: source.size },
      )
    text = new TextDecoder('utf-8', { fatal: true }).decode(source.read(0, source.size))
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw damaged(path, 'is not valid UTF-8; it is damaged', 'PARE_E_SAFETENSORS_INDEX')
  } finally {
    source.close()
  }
  const index = strictJson(path, text)
  const map = isRecord(index) ? index.weight_map : undefined
  if (!isRecord(map))
    throw damaged(path, 'needs a weight_map from tensor to file; it is damaged', 'PARE_E_SAFETENSORS_INDEX')
  return new Map(
    Object.entries(map).map(([tensor, file]) => {
      // A path could lead out of the model's folder.
      if (typeof file !== 'string' || !/^[^/\\:\0]+\.safetensors$/.test(file))
        throw damaged(
          path,
          `maps tensor ${printable(tensor)} to ${printable(String(file))}; a plain name ending in .safetensors is needed`,
          'PARE_E_SAFETENSORS_INDEX',
          { tensor },
        )
      return [tensor, file]
    }),
  )
}
