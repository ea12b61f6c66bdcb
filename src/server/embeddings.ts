/** POST /v1/embeddings: vectors of texts. */
import { z } from 'zod'
import { OptionError } from '../tensor/errors.ts'
import { badRequest } from './api_error.ts'
import { textField, whole } from './sampling_fields.ts'
import type { ServedModel, TextEmbedder } from './served_model.ts'

/** OpenAI's limit of texts in one request. */
const MOST_TEXTS = 2048

const text = z
  .string('a text is needed')
  .min(1, 'a text that is not empty is needed')
  .refine((whole) => !/\p{Surrogate}/u.test(whole), 'a text of whole characters is needed')

export const embeddingSchema = z.strictObject({
  model: textField,
  input: z.union([text, z.array(text).min(1, 'one text at least is needed').max(MOST_TEXTS)], {
    error: `a text or a list of at most ${MOST_TEXTS} texts is needed, token ids are not taken`,
  }),
  encoding_format: z.enum(['float', 'base64'], 'float or base64 is needed').optional(),
  dimensions: whole(1, 2 ** 31 - 1).optional(),
  user: z.string().optional(),
})

/**
 * The vectors of a request, as numbers or as base64 of little-endian f32.
 *
 * @throws ApiError 400 where a text is longer than the model reads, or another width is asked for.
 */
export async function embeddingAnswer(
  { input, encoding_format = 'float', dimensions }: z.output<typeof embeddingSchema>,
  embedder: TextEmbedder,
  { id }: ServedModel,
  signal: AbortSignal,
): Promise<object> {
  if (dimensions !== undefined && dimensions !== embedder.width)
    throw badRequest(
      `dimensions: vectors of this model have ${embedder.width} numbers, got ${dimensions}; leave it out`,
      'dimensions',
      'unsupported_field',
    )
  const texts = typeof input === 'string' ? [input] : input
  const { vectors, tokens } = await embedder.embed(texts, { signal }).catch((error: unknown) => {
    if (error instanceof OptionError && error.code === 'PARE_E_TEXT_TOO_LONG')
      throw badRequest(error.message, 'input', 'context_length_exceeded')
    throw error
  })
  const total = tokens.reduce((sum, count) => sum + count, 0)
  return {
    object: 'list',
    data: vectors.map((vector, index) => ({
      object: 'embedding',
      index,
      embedding: encoding_format === 'float' ? Array.from(vector) : base64(vector),
    })),
    model: id,
    usage: { prompt_tokens: total, total_tokens: total },
  }
}

/** @example base64(Float32Array.of(1)) // 'AACAPw==' */
function base64(vector: Float32Array): string {
  const bytes = Buffer.alloc(4 * vector.length)
  for (const [i, value] of vector.entries()) bytes.writeFloatLE(value, 4 * i)
  return bytes.toString('base64')
}
