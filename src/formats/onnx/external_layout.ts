/** Where tensors go in the files beside a model: `NAME.onnx_data`, `NAME.onnx_data_1` ..., each tensor at a multiple of 4096. */
import { basename, dirname, join } from 'node:path'
import { OptionError } from '../../tensor/errors.ts'
import { createOutput } from '../output.ts'
import type { PlacedFile } from '../placed_writer.ts'
import type { ExternalPlace } from './model_writer.ts'

export interface ExternalOptions {
  /**
   * Tensors of 1 KiB and more in files beside the model. @default where the model would have 2 GiB or more, which
   * protocol buffers do not allow
   */
  externalData?: boolean
  /** Bytes of one such file; a larger tensor gets a file of its own. Browsers hold less than 2 GiB in one piece. @default 2e9 */
  maxChunkBytes?: number
}

/** Pages of every system divide it, so that a file can be mapped. */
const alignment = 4096
/** Smaller tensors stay in the model: shapes and axes are looked at before anything runs. */
export const leastExternalBytes = 1024

export interface ExternalFile {
  readonly path: string
  readonly tensors: PlacedFile['tensors'][number][]
  size: number
}

/** Deals tensors to files in the order given. */
export function layOutExternal(
  model: string,
  tensors: readonly { readonly name: string; readonly bytes: number }[],
  maxChunkBytes = 2e9,
): { files: readonly ExternalFile[]; places: ReadonlyMap<string, ExternalPlace> } {
  if (!(maxChunkBytes > 0))
    throw new OptionError(`maxChunkBytes must be above 0, got ${maxChunkBytes}; 2e9 is usual`, {
      facts: { maxChunkBytes },
    })
  const files: ExternalFile[] = []
  const places = new Map<string, ExternalPlace>()
  for (const { name, bytes } of tensors) {
    let file = files.at(-1)
    const position = Math.ceil((file?.size ?? 0) / alignment) * alignment
    if (!file || (file.size > 0 && position + bytes > maxChunkBytes)) {
      const suffix = files.length === 0 ? '_data' : `_data_${files.length}`
      file = { path: join(dirname(model), basename(model) + suffix), tensors: [], size: 0 }
      files.push(file)
    }
    const offset = file.size === 0 ? 0 : position
    file.tensors.push({ name, offset, bytes })
    file.size = offset + bytes
    places.set(name, { location: basename(file.path), offset, bytes })
  }
  return { files, places }
}

/** Starts the files; if one cannot be started, none is left. */
export function startExternal(files: readonly ExternalFile[]): PlacedFile[] {
  const placed: PlacedFile[] = []
  try {
    for (const { path, tensors, size } of files) {
      const output = createOutput(path, { expectedBytes: size })
      placed.push({ output, tensors })
      output.extendTo(size)
    }
    return placed
  } catch (error) {
    for (const { output } of placed) output.abort()
    throw error
  }
}
