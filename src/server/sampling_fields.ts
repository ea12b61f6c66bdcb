/** Fields that chat completions and completions share: how tokens are drawn and when a text ends. */
import { z } from 'zod'
import type { GenerationRequest, SamplingOptions } from '../generate/generation.ts'

const number = (least: number, most: number) => {
  const message = `a number from ${least} to ${most} is needed`
  return z.number(message).min(least, message).max(most, message)
}
export const whole = (least: number, most: number) => {
  const message = `a whole number from ${least} to ${most} is needed`
  return z.int(message).min(least, message).max(most, message)
}
export const flag = z.boolean('true or false is needed')
export const textField = z.string('a text is needed')

/** More tokens than any model reads. */
const MOST_TOKENS = 2 ** 31 - 1
export const maxTokens = (least: number) => whole(least, MOST_TOKENS)

/** Seeds of further texts follow. */
const MOST_SEED = 2 ** 52

/** Texts that end one. */
const MOST_STOPS = 4
const LONGEST_STOP = 1024
const stopText = z
  .string('a text or a list of texts is needed')
  .min(1, 'a text that is not empty is needed')
  .max(LONGEST_STOP, `a text of at most ${LONGEST_STOP} characters is needed`)

/** Logits that may be shifted. */
const MOST_BIASES = 1024
const shareAbove0 = 'a number above 0, up to 1 is needed'

export const samplingFields = {
  model: textField,
  stream: flag.optional(),
  stream_options: z
    .strictObject({ include_usage: flag.optional(), include_obfuscation: z.literal(false).optional() })
    .optional(),
  n: whole(1, 128).optional(),
  stop: z
    .union([stopText, z.array(stopText).max(MOST_STOPS, `at most ${MOST_STOPS} texts are taken`)], {
      error: 'a text or a list of at most 4 texts is needed',
    })
    .transform((stop) => (typeof stop === 'string' ? [stop] : stop))
    .optional(),
  seed: whole(-MOST_SEED, MOST_SEED).optional(),
  temperature: number(0, 2).optional(),
  top_p: z.number(shareAbove0).gt(0, shareAbove0).max(1, shareAbove0).optional(),
  presence_penalty: number(-2, 2).optional(),
  frequency_penalty: number(-2, 2).optional(),
  logit_bias: z
    .record(
      z.string().regex(/^(?:0|[1-9]\d{0,9})$/, 'token ids are needed as keys'),
      number(-100, 100),
      'an object with token ids as keys and numbers as values is needed',
    )
    .refine((bias) => Object.keys(bias).length <= MOST_BIASES, `at most ${MOST_BIASES} tokens are taken`)
    .transform((bias) => new Map(Object.entries(bias).map(([id, shift]) => [Number(id), shift])))
    .optional(),
  // Not OpenAI's, but of most servers of open models.
  top_k: whole(0, MOST_TOKENS).optional(),
  min_p: number(0, 1).optional(),
  repetition_penalty: number(0.01, 100).optional(),
  ignore_eos: flag.optional(),
  // Names the end user; nothing is done with it.
  user: z.string().optional(),
  safety_identifier: z.string().optional(),
  prompt_cache_key: z.string().optional(),
}

export type SamplingFields = z.output<z.ZodObject<typeof samplingFields>>

/** Values of sampling that a model asks for, where a request says nothing. */
export type SamplingDefaults = Pick<
  SamplingOptions,
  'temperature' | 'topP' | 'topK' | 'minP' | 'repetitionPenalty'
>

/** The part of a request to the generator that these fields decide; text `index` of several has a seed of its own. */
export function samplingRequest(
  fields: SamplingFields,
  defaults: SamplingDefaults,
  index: number,
): Omit<GenerationRequest, 'prompt'> {
  const seed = fields.seed === undefined ? undefined : fields.seed + index
  const given = {
    temperature: fields.temperature,
    topP: fields.top_p,
    topK: fields.top_k,
    minP: fields.min_p,
    repetitionPenalty: fields.repetition_penalty,
    presencePenalty: fields.presence_penalty,
    frequencyPenalty: fields.frequency_penalty,
    logitBias: fields.logit_bias,
    stop: fields.stop,
    ignoreEnd: fields.ignore_eos,
    seed,
  }
  return {
    ...defaults,
    ...(Object.fromEntries(
      Object.entries(given).filter(([, value]) => value !== undefined),
    ) as typeof defaults),
  }
}
