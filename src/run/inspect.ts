/** What a model file or folder holds, from its headers. Works without the native core. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { TensorArchive } from '../formats/archive.ts'
import { openGguf } from '../formats/gguf/container.ts'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { readJsonFile } from '../formats/tokenizer/tokenizer.ts'
import { openTorch } from '../formats/torch/torch.ts'
import { isFolder, openModel } from '../models/load_model.ts'
import { languageModel, type OpenModel } from '../models/open_model.ts'
import { PareError } from '../tensor/errors.ts'

export interface Inspection {
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
}

/**
 * Reads headers only.
 *
 * @throws SourceError where nothing can be read at the path, FormatError where the file is damaged.
 * @example inspect('model.gguf').tensors
 */
export function inspect(path: string): Inspection {
  const folder = isFolder(path)
  const archive = openArchive(path, folder)
  try {
    const tensors = [...archive.tensors.values()].map(({ name, type, shape, bytes }) => {
      const count = shape.reduce((a, b) => a * b, 1)
      return { name, type, shape, bytes, bits: count === 0 ? 0 : (bytes * 8) / count }
    })
    const files = new Set([...archive.tensors.values()].map(({ file }) => file))
    return {
      path,
      format: archive.format,
      fileBytes: [...files].reduce((sum, file) => sum + statSync(file).size, 0),
      parameters: tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
      metadata: folder
        ? folderMetadata(path)
        : [...archive.metadata].map(([key, value]) => ({ key, value: show(value) })),
      tensors,
      ...support(path),
    }
  } finally {
    archive.close()
  }
}

function openArchive(path: string, folder: boolean): TensorArchive {
  if (folder || path.endsWith('.safetensors')) return openSafetensors(path)
  return /\.(?:pth|pt|bin|ckpt)$/.test(path) ? openTorch(path) : openGguf(path)
}

function folderMetadata(folder: string): { key: string; value: string }[] {
  const config = readJsonFile(join(folder, 'config.json')) ?? {}
  return Object.entries(config).map(([key, value]) => ({ key, value: JSON.stringify(value) ?? '' }))
}

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

function support(path: string): { supported?: string; reason?: string } {
  let open: OpenModel
  try {
    open = openModel(path)
  } catch (error) {
    if (error instanceof PareError) return { reason: error.message }
    throw error
  }
  open.close()
  const { architecture, layers } = open.model.config
  const supported = `a ${architecture} model of ${layers.length} blocks`
  try {
    languageModel(open)
    return { supported }
  } catch (error) {
    return { supported, reason: (error as PareError).message }
  }
}
