/** Folders whose weights become parameters: config.json and model.safetensors of networks that Pare trains. */
import { join } from 'node:path'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { readJsonFile } from '../formats/tokenizer/tokenizer.ts'
import { Parameters } from '../nn/parameters.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import { type ComputeType, scope } from '../tensor/index.ts'
import { finiteWeights } from './finite_weights.ts'
import { storedWeights } from './stored/stored_weights.ts'
import type { WeightMaker } from './weight_maker.ts'
import { checkWeightShape } from './weight_shape.ts'

/**
 * Builds a network over the weights of a folder, in `dtype`; buffers of a network in bf16 stay in f32.
 *
 * @param build makes the network of its config, and asks for each weight once
 * @throws FormatError where a file is missing or damaged, or a weight is not finite or has another shape than asked for
 */
export function readTrainable<N>(
  folder: string,
  dtype: ComputeType,
  build: (config: Record<string, unknown>, weights: WeightMaker) => N,
): { network: N; parameters: Parameters } {
  const json = readJsonFile(join(folder, 'config.json'))
  if (!json)
    throw new FormatError(
      `${printable(folder)}: has no config.json, so that it is no folder of a model; check the path`,
      { code: 'PARE_E_NO_CONFIG', facts: { folder } },
    )
  const weights = finiteWeights(storedWeights(openSafetensors(folder), 0))
  const parameters = new Parameters()
  const load = (path: string, shape: readonly number[], type: ComputeType) => {
    checkWeightShape(weights, path, shape)
    return weights.load(path).cast(type)
  }
  try {
    const network = build(json, {
      weight: (path, shape) => scope(() => parameters.add(path, load(path, shape, dtype))),
      buffer: (path, shape) =>
        scope(() => parameters.addBuffer(path, load(path, shape, dtype === 'bf16' ? 'f32' : dtype))),
    })
    return { network, parameters }
  } catch (error) {
    parameters.dispose()
    throw error
  } finally {
    weights.close()
  }
}
