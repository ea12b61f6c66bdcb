/** Llama models in training. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ConfigJson } from '../../models/config_fields.ts'
import { configToHuggingFace, type LlamaConfig } from '../../models/llama/config.ts'
import { freshWeights } from '../../models/llama/fresh_weights.ts'
import { Llama } from '../../models/llama/llama.ts'
import { weightShapes } from '../../models/llama/weight_shapes.ts'
import { memoryWeights } from '../../models/memory_weights.ts'
import type { OpenLanguageModel } from '../../models/open_model.ts'
import { Parameters } from '../../nn/parameters.ts'
import type { Batch } from '../../optim/examples.ts'
import { AbortError, OptionError } from '../../tensor/errors.ts'
import { type ComputeType, randomStream, scope } from '../../tensor/index.ts'
import { languageTask } from '../../train/language_task.ts'
import type { LlamaRecipe } from './model_fields.ts'
import type { TextData } from './text_data.ts'
import { inParts, type TrainedModel } from './trained_model.ts'

export interface LanguageTrainingOptions {
  data: TextData
  /** Tokens of a window. */
  length: number
  seed: number
  dtype: ComputeType
  /** Windows of a batch. */
  batch: number
}

/** A model with new weights. @throws OptionError for widths that do not fit each other */
export function newLlama(recipe: LlamaRecipe, options: LanguageTrainingOptions): TrainedModel {
  const config = configOf(recipe, options)
  const parameters = new Parameters()
  scope(() => {
    for (const [name, weight] of freshWeights(config, { seed: options.seed }))
      parameters.add(name, weight.cast(options.dtype))
  })
  return trained(config, parameters, options, () => companions(config, options))
}

/** The weights of a model that is there, decoded, whatever form they are stored in. */
export function continuedLlama(open: OpenLanguageModel, options: LanguageTrainingOptions): TrainedModel {
  const { config } = open.model
  checkContext(config, options)
  const parameters = new Parameters()
  for (const name of weightShapes(config).keys())
    scope(() => parameters.add(name, open.weights.load(name).cast(options.dtype)))
  const files = new Map(
    [
      'tokenizer.json',
      'tokenizer_config.json',
      'special_tokens_map.json',
      'generation_config.json',
      'chat_template.jinja',
    ]
      .map((name) => [name, join(open.path, name)] as const)
      .filter(([, path]) => existsSync(path))
      .map(([name, path]) => [name, readFileSync(path)] as const),
  )
  const fresh: ReadonlyMap<string, string | Uint8Array> = companions(config, options)
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
  { data, length, batch: batchSize }: LanguageTrainingOptions,
  files: () => ReadonlyMap<string, string | Uint8Array>,
): TrainedModel {
  const model = new Llama(config, memoryWeights(parameters.tensors())).load()
  const task = languageTask(model, parameters)
  return {
    family: 'llama',
    task,
    classes: config.vocabulary,
    async evaluate(examples, signal) {
      let [nats, bytes] = [0, 0]
      for (const ids of inParts(examples, batchSize)) {
        // Signals are heard between batches.
        await new Promise((done) => setImmediate(done))
        if (signal?.aborted) throw new AbortError()
        nats += scope(() => {
          const batch: Batch = data.heldOut.batch(ids, randomStream(0, 'held out'))
          return task.lossesOf(task.logits(batch, {}), batch).cast('f64').sum().item() * length
        })
        for (const id of ids) bytes += data.bytesOf(id)
      }
      const tokens = examples.length * length
      const loss = nats / tokens
      return { loss, perplexity: Math.exp(loss), bitsPerByte: nats / Math.LN2 / bytes, tokens, bytes }
    },
    files,
  }
}

function configOf(
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
  options: LanguageTrainingOptions,
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
    vocabulary: options.data.tokenizer.vocabularySize,
    context: context ?? options.length,
    normEpsilon: 1e-5,
    rotaryBase,
    rotaryScaling: { kind: 'none' },
    tied,
    attentionBias: false,
  }
  checkContext(config, options)
  return config
}

function checkContext({ context, vocabulary }: LlamaConfig, { length, data }: LanguageTrainingOptions): void {
  if (length > context)
    throw new OptionError(
      `train.data.length: windows of at most ${context} tokens fit the context of the model, got ${length}`,
      { code: 'PARE_E_FIELD', facts: { field: 'train.data.length' } },
    )
  const { vocabularySize } = data.tokenizer
  if (vocabularySize > vocabulary)
    throw new OptionError(
      `train.data.tokenizer: at most ${vocabulary} tokens fit the model, got ${vocabularySize}; leave it out to take the model's own`,
      { code: 'PARE_E_FIELD', facts: { field: 'train.data.tokenizer' } },
    )
}

/** What transformers and Pare look for beside the weights. */
function companions(
  config: LlamaConfig,
  { data: { tokenizer } }: LanguageTrainingOptions,
): Map<string, string> {
  const ids = { bos_token_id: tokenizer.bosId ?? null, eos_token_id: tokenizer.eosIds[0] ?? null }
  const token = (id: number | undefined) => (id === undefined ? undefined : tokenizer.token(id))
  const json: ConfigJson = { ...configToHuggingFace(config), ...ids }
  return new Map([
    ['tokenizer.json', tokenizer.json()],
    [
      'tokenizer_config.json',
      pretty({
        tokenizer_class: 'PreTrainedTokenizerFast',
        model_max_length: config.context,
        bos_token: token(tokenizer.bosId),
        eos_token: token(tokenizer.eosIds[0]),
        clean_up_tokenization_spaces: false,
      }),
    ],
    ['generation_config.json', pretty(ids)],
    ['config.json', pretty(json)],
  ])
}

const pretty = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`
