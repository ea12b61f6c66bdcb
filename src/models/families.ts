/** One table of the model families: what config.json calls them, and how each becomes a model over its weights. */
import { FormatError, printable } from '../tensor/errors.ts'
import { Bert } from './bert/bert.ts'
import * as bertConfig from './bert/config.ts'
import type { ConfigJson } from './config_fields.ts'
import * as llamaConfig from './llama/config.ts'
import { Llama } from './llama/llama.ts'
import type { ModelWeights } from './model_weights.ts'

export interface Family<Model> {
  /** What messages call its models. */
  readonly kind: 'language model' | 'text encoder'
  /** Values of `model_type` in config.json. */
  readonly modelTypes: readonly string[]
  /**
   * Reads config.json, and returns what makes the model when its weights are open.
   *
   * @throws FormatError for what the family does not compute, and from the maker where weights do not fit.
   */
  read(config: ConfigJson): (weights: ModelWeights) => Model
}

const llama: Family<Llama> = {
  kind: 'language model',
  modelTypes: llamaConfig.modelTypes,
  read(json) {
    const config = llamaConfig.configFromHuggingFace(json)
    return (weights) => new Llama(config, weights)
  },
}

const bert: Family<Bert> = {
  kind: 'text encoder',
  modelTypes: bertConfig.modelTypes,
  read(json) {
    const config = bertConfig.configFromHuggingFace(json)
    return (weights) => new Bert(config, weights)
  },
}

export const families = { llama, bert }

export type FamilyName = keyof typeof families
export type ModelOf<Name extends FamilyName> = ReturnType<ReturnType<(typeof families)[Name]['read']>>

/** The family of a config.json. @throws FormatError where there is none. */
export function familyOf(config: ConfigJson): FamilyName {
  const architecture = String(config.model_type ?? 'nothing')
  for (const [name, { modelTypes }] of Object.entries(families)) {
    if (modelTypes.includes(architecture)) return name as FamilyName
  }
  const known = Object.values(families).flatMap(({ modelTypes }) => modelTypes)
  throw new FormatError(
    `config.json: model_type ${printable(architecture)} is not supported; Pare computes ${known.join(', ')}`,
    { code: 'PARE_E_ARCHITECTURE', facts: { architecture } },
  )
}
