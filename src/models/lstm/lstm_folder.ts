/** LSTM language models in folders, as a training writes them: config.json and model.safetensors. */
import { join } from 'node:path'
import { readJsonFile } from '../../formats/tokenizer/tokenizer.ts'
import type { Parameters } from '../../nn/parameters.ts'
import type { ComputeType } from '../../tensor/index.ts'
import { readTrainable } from '../trainable_folder.ts'
import { lstmFromJson, lstmModelType } from './config.ts'
import { LstmLanguageModel } from './lstm_model.ts'

export interface LoadedLstm {
  readonly model: LstmLanguageModel
  /** All weights, which a training may change. `dispose` frees them. */
  readonly parameters: Parameters
}

/** Whether a folder is that of an LSTM language model. */
export const isLstmFolder = (folder: string): boolean =>
  readJsonFile(join(folder, 'config.json'))?.model_type === lstmModelType

/**
 * Reads the result of a training.
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
