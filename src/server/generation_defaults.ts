/** How a model wants its tokens to be drawn, as its generation_config.json says. */
import { join } from 'node:path'
import { z } from 'zod'
import { readJsonFile } from '../formats/tokenizer/tokenizer.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import type { SamplingDefaults } from './sampling_fields.ts'

const FILE = 'generation_config.json'

const schema = z.object({
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().min(0.01).max(100).nullish(),
})

/**
 * What stands in the file of a folder, where there is one; the most likely token always where it says that none is drawn.
 *
 * @throws FormatError for values that cannot be.
 */
export function generationDefaults(folder: string): SamplingDefaults {
  const parsed = schema.safeParse(readJsonFile(join(folder, FILE)) ?? {})
  if (!parsed.success) {
    const [{ path, message } = { path: [], message: '' }] = parsed.error.issues
    throw new FormatError(
      `${printable(join(folder, FILE), 300)}: ${path.join('.')} cannot be (${message}); correct or remove it`,
      { code: 'PARE_E_GENERATION_CONFIG', facts: { path: folder } },
    )
  }
  const { do_sample, temperature, top_p, top_k, min_p, repetition_penalty } = parsed.data
  const given = {
    temperature: do_sample === false ? 0 : temperature,
    topP: top_p,
    topK: top_k,
    minP: min_p,
    repetitionPenalty: repetition_penalty,
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => typeof value === 'number'))
}
