/** LSTM language models as folders: config.json and model.safetensors. */
import { join } from 'node:path'
import { writeWhole } from '../../formats/output.ts'
import { createSafetensors } from '../../formats/safetensors/writer.ts'
import { readJsonFile } from '../../formats/tokenizer/tokenizer.ts'
import type { Parameters } from '../../nn/parameters.ts'
import type { ComputeType } from '../../tensor/index.ts'
import { readTrainable } from '../trainable_folder.ts'
import { type LstmConfig, lstmFromJson, lstmModelType, lstmToJson } from './config.ts'
import { LstmLanguageModel } from './lstm_model.ts'

export interface LoadedLstm {
  readonly model: LstmLanguageModel
  /** All weights, which a training may change. `dispose` frees them. */
  readonly parameters: Parameters
}

/**
 * Writes a model into a folder that exists: the config last, so that a folder with one is whole.
 *
 * @throws ResourceError where the disk is full
 * @example saveLstm('lstm-2x200', model.config, parameters)
 */
export function saveLstm(folder: string, config: LstmConfig, parameters: Parameters): void {
  const tensors = parameters
    .matching()
    .filter((path) => weightPath.test(path))
    .map((path) => [path, parameters.get(path).tensor] as const)
  const infos = tensors.map(([name, { shape, dtype }]) => ({ name, shape, type: dtype.toUpperCase() }))
  const writer = createSafetensors(join(folder, 'model.safetensors'), infos)
  for (const [name, tensor] of tensors) writer.append(name, tensor.bytes())
  writer.finish()
  writeWhole(join(folder, 'config.json'), `${JSON.stringify(lstmToJson(config), null, 2)}\n`)
}

/** Weights of the model, and no others that train with it. */
const weightPath = /^(?:embedding|head)\.(?:weight|bias)$|^lstm\.(?:weight|bias)_[ih]h_l\d+$/

/** Whether a folder is that of an LSTM language model. */
export const isLstmFolder = (folder: string): boolean =>
  readJsonFile(join(folder, 'config.json'))?.model_type === lstmModelType

/**
 * Reads what `saveLstm` wrote.
 *
 * @param dtype that the model computes in. @default f32
 * @throws FormatError where a file is missing or damaged, or a weight has another shape than the config says
 * @example const { model } = loadLstm('lstm-2x200')
 */
export function loadLstm(folder: string, { dtype = 'f32' }: { dtype?: ComputeType } = {}): LoadedLstm {
  const { network: model, parameters } = readTrainable(
    folder,
    dtype,
    (json, weights) => new LstmLanguageModel(lstmFromJson(json), weights),
  )
  return { model, parameters }
}
