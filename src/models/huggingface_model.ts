/** Opens a Hugging Face folder, plain or with layers stored as codes, or a Pare folder as a model. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { TensorArchive } from '../formats/archive.ts'
import { openOnnx } from '../formats/onnx/onnx.ts'
import { readPareJson } from '../formats/pare_folder.ts'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { chatTemplateSources } from '../formats/tokenizer/chat_template.ts'
import { loadTokenizer, readJsonFile } from '../formats/tokenizer/tokenizer.ts'
import { openTorch } from '../formats/torch/torch.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import type { ConfigJson } from './config_fields.ts'
import { families, familyOf } from './families.ts'
import { finiteWeights } from './finite_weights.ts'
import { firstCall } from './first_call.ts'
import { findOnnx } from './onnx/export_names.ts'
import type { OpenModel } from './open_model.ts'
import { checkpointOf } from './stored/checkpoint.ts'
import { isOnnxArchive, onnxLayers, onnxWeights } from './stored/onnx_layers.ts'
import { pareLayers } from './stored/pare_layers.ts'
import { storedWeights } from './stored/stored_weights.ts'

/** Weights that are open already; the model closes them. */
export interface OpenWeights {
  archive: TensorArchive
  /** Size of all files of the weights. */
  fileBytes: number
}

/** @param opened the weights of the folder @default what lies in it */
export function openFolderModel(
  folder: string,
  name: string,
  opened?: OpenWeights,
): OpenModel & { configJson: ConfigJson } {
  const configJson = readJsonFile(join(folder, 'config.json'))
  if (!configJson) {
    throw new FormatError(`${printable(folder)}: has no config.json, so that it is no model folder`, {
      code: 'PARE_E_NO_CONFIG',
      facts: { folder },
    })
  }
  const family = inConfig(folder, () => familyOf(configJson))
  const modelOver = inConfig(folder, () => families[family].read(configJson))
  const archive = opened?.archive ?? openWeights(folder)
  try {
    const fileBytes = opened?.fileBytes ?? sizeOfFiles(archive)
    const { format, layers } = inConfig(folder, () => layersOf(folder, archive, configJson))
    const weights = finiteWeights(storedWeights(archive, fileBytes, layers))
    const open = {
      family,
      name,
      path: folder,
      format,
      model: modelOver(weights),
      weights,
      tokenizer: firstCall(() => loadTokenizer(folder)),
      chatTemplates: () => chatTemplateSources(folder),
      close: () => weights.close(),
      configJson,
    }
    // Family and model come from one line of the table.
    return open as OpenModel & { configJson: ConfigJson }
  } catch (error) {
    archive.close()
    throw error
  }
}

/** Errors of settings, with the file that they stand in. */
function inConfig<T>(folder: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    const [, field] =
      /^(?:config\.json: |(?=quantization_config: ))(.*)$/s.exec((cause as Error).message) ?? []
    if (!(cause instanceof FormatError) || field === undefined) throw cause
    const path = join(folder, 'config.json')
    const { code, facts } = cause
    throw new FormatError(`${printable(path, 300)}: ${field}`, { code, facts: { ...facts, path }, cause })
  }
}

/** What of the weights is stored as codes, and by whose rules. */
function layersOf(folder: string, archive: TensorArchive, configJson: ConfigJson) {
  if (existsSync(join(folder, 'pare.json'))) {
    const described = readPareJson(readJsonFile(join(folder, 'pare.json')))
    return { format: 'pare' as const, layers: pareLayers(archive, described) }
  }
  if (isOnnxArchive(archive)) return { format: 'onnx' as const, layers: onnxLayers(archive) }
  return checkpointOf(archive, configJson)
}

/** Safetensors of a folder; without any, the torch file that older checkpoints have, then an ONNX model. */
export function openWeights(folder: string): TensorArchive {
  const torch = join(folder, 'pytorch_model.bin')
  if (readdirSync(folder).some((name) => /\.safetensors(?:\.index\.json)?$/.test(name)))
    return openSafetensors(folder)
  if (existsSync(torch)) return openTorch(torch)
  const onnx = findOnnx(folder, readJsonFile(join(folder, 'config.json')))
  return onnx === undefined ? openSafetensors(folder) : onnxWeights(openOnnx(onnx))
}

export function sizeOfFiles(archive: TensorArchive): number {
  const files = new Set([...archive.tensors.values()].map(({ file }) => file))
  return [...files].reduce((sum, file) => sum + statSync(file).size, 0)
}

/** Folder of a model path, for the files beside it. */
export const folderOf = (path: string): string => (statSync(path).isDirectory() ? path : dirname(path))
