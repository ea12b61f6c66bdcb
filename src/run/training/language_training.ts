/** Llama models in training. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { configToHuggingFace, type LlamaConfig } from '../../models/llama/config.ts'
import { freshWeights } from '../../models/llama/fresh_weights.ts'
import { Llama } from '../../models/llama/llama.ts'
import { weightShapes } from '../../models/llama/weight_shapes.ts'
import { memoryWeights } from '../../models/memory_weights.ts'
import type { OpenLanguageModel } from '../../models/open_model.ts'
import { Parameters } from '../../nn/parameters.ts'
import { OptionError } from '../../tensor/errors.ts'
import { elementCount, scope } from '../../tensor/index.ts'
import { languageTask } from '../../train/language_task.ts'
import { evaluateLanguage, type LanguageTrainingOptions, logitsOf } from './language_evaluation.ts'
import { companionNames, languageFiles } from './language_files.ts'
import type { LlamaRecipe } from './model_fields.ts'
import type { TrainedModel } from './trained_model.ts'

/** A model with new weights. @throws OptionError for widths that do not fit each other */
export function newLlama(recipe: LlamaRecipe, options: LanguageTrainingOptions): TrainedModel {
  const config = llamaConfig(recipe, options.data.tokenizer.vocabularySize, options.length)
  options.fits(llamaWeights(config), logitsOf(options))
  const parameters = new Parameters()
  scope(() => {
    for (const [name, weight] of freshWeights(config, { seed: options.seed }))
      parameters.add(name, weight.cast(options.dtype))
  })
  return trained(config, parameters, options, () =>
    languageFiles(configToHuggingFace(config), options.data.tokenizer, config.context),
  )
}

/** The weights of a model that is there, decoded, whatever form they are stored in. */
export function continuedLlama(open: OpenLanguageModel, options: LanguageTrainingOptions): TrainedModel {
  const { config } = open.model
  checkContext(config, options.length)
  checkVocabulary(config, options)
  const parameters = new Parameters()
  try {
    for (const name of weightShapes(config).keys())
      scope(() => parameters.add(name, open.weights.load(name).cast(options.dtype)))
  } catch (error) {
    parameters.dispose()
    throw error
  }
  const files = new Map(
    companionNames
      .map((name) => [name, join(open.path, name)] as const)
      .filter(([, path]) => existsSync(path))
      .map(([name, path]) => [name, readFileSync(path)] as const),
  )
  const fresh: ReadonlyMap<string, string | Uint8Array> = languageFiles(
    configToHuggingFace(config),
    options.data.tokenizer,
    config.context,
  )
  return trained(
    config,
    parameters,
    options,
    () => new Map<string, string | Uint8Array>([...fresh, ...files]),
  )
}

function trained(
  config: LlamaConfig,
  parameters: Parameters,
  options: LanguageTrainingOptions,
  files: () => ReadonlyMap<string, string | Uint8Array>,
): TrainedModel {
  const model = new Llama(config, memoryWeights(parameters.tensors())).load()
  const task = languageTask(model, parameters)
  return {
    family: 'llama',
    task,
    classes: config.vocabulary,
    evaluate: (examples, signal) => evaluateLanguage(task, options, examples, signal),
    files,
  }
}

/** @throws OptionError for widths that do not fit each other, and windows longer than the context */
export function llamaConfig(
  {
    layers,
    hidden,
    heads,
    kvHeads = heads,
    feedForward,
    context,
    tied = true,
    rotaryBase = 10_000,
  }: LlamaRecipe,
  vocabulary: number,
  length: number,
): LlamaConfig {
  const wrong = (field: string, what: string) => {
    throw new OptionError(`train.model.${field}: ${what}`, {
      code: 'PARE_E_FIELD',
      facts: { field: `train.model.${field}` },
    })
  }
  if (hidden % (2 * heads) !== 0)
    wrong(
      'hidden',
      `heads of an even width are needed, got ${hidden} for ${heads} heads; choose a multiple of ${2 * heads}`,
    )
  if (heads % kvHeads !== 0) wrong('kvHeads', `a divisor of ${heads} heads is needed, got ${kvHeads}`)
  const config: LlamaConfig = {
    architecture: 'llama',
    hidden,
    layers: Array.from({ length: layers }, () => ({ heads, kvHeads, intermediate: feedForward })),
    headSize: hidden / heads,
    vocabulary,
    context: context ?? length,
    normEpsilon: 1e-5,
    rotaryBase,
    rotaryScaling: { kind: 'none' },
    tied,
    attentionBias: false,
  }
  checkContext(config, length)
  return config
}

/** Numbers of all weights together. */
export const llamaWeights = (config: LlamaConfig): number =>
  [...weightShapes(config).values()].reduce((sum, shape) => sum + elementCount(shape), 0)

function checkContext({ context }: LlamaConfig, length: number): void {
  if (length > context)
    throw new OptionError(
      `train.data.length: windows of at most ${context} tokens fit the context of the model, got ${length}`,
      { code: 'PARE_E_FIELD', facts: { field: 'train.data.length' } },
    )
}

function checkVocabulary({ vocabulary }: LlamaConfig, { data }: LanguageTrainingOptions): void {
  const { vocabularySize } = data.tokenizer
  if (vocabularySize > vocabulary)
    throw new OptionError(
      `train.data.tokenizer: at most ${vocabulary} tokens fit the model, got ${vocabularySize}; leave it out to take the model's own`,
      { code: 'PARE_E_FIELD', facts: { field: 'train.data.tokenizer' } },
    )
}
