/** LSTM language models as folders: config.json and model.safetensors. */
import { join } from 'node:path'
import { writeWhole } from '../../formats/output.ts'
import { openSafetensors } from '../../formats/safetensors/safetensors.ts'
import { createSafetensors } from '../../formats/safetensors/writer.ts'
import { readJsonFile } from '../../formats/tokenizer/tokenizer.ts'
import { Parameters } from '../../nn/parameters.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { type ComputeType, scope } from '../../tensor/index.ts'
import { finiteWeights } from '../finite_weights.ts'
import { huggingFaceWeights } from '../huggingface_weights.ts'
import { checkWeightShape } from '../weight_shape.ts'
import { type LstmConfig, lstmFromJson, lstmToJson } from './config.ts'
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

/**
 * Reads what `saveLstm` wrote.
 *
 * @param dtype that the model computes in. @default f32
 * @throws FormatError where a file is missing or damaged, or a weight has another shape than the config says
 * @example const { model } = loadLstm('lstm-2x200')
 */
export function loadLstm(folder: string, { dtype = 'f32' }: { dtype?: ComputeType } = {}): LoadedLstm {
  const json = readJsonFile(join(folder, 'config.json'))
  if (!json)
    throw new FormatError(`${printable(folder)}: has no config.json, so that it is no model folder`, {
      code: 'PARE_E_NO_CONFIG',
      facts: { folder },
    })
  const config = lstmFromJson(json)
  const weights = finiteWeights(huggingFaceWeights(openSafetensors(folder), undefined, 0))
  const parameters = new Parameters()
  try {
    const model = new LstmLanguageModel(config, {
      weight: (path, shape) =>
        scope(() => {
          checkWeightShape(weights, path, shape)
          return parameters.add(path, weights.load(path).cast(dtype))
        }),
      buffer: (path, shape) =>
        scope(() => {
          checkWeightShape(weights, path, shape)
          return parameters.addBuffer(path, weights.load(path))
        }),
    })
    return { model, parameters }
  } catch (error) {
    parameters.dispose()
    throw error
  } finally {
    weights.close()
  }
}
