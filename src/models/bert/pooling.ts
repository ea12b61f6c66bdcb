/** One vector of the hidden states of a text. */
import { matmul, scope, type Tensor, tensor } from '../../tensor/index.ts'
import type { SentenceSettings } from './sentence_settings.ts'

/**
 * hidden [count, tokens, hidden] -> vectors [count, hidden] in f32. The mean is over the first `lengths[i]` tokens.
 *
 * @param lengths each above 0
 */
export function pool(
  hidden: Tensor,
  lengths: readonly number[],
  { pooling, normalize }: Pick<SentenceSettings, 'pooling' | 'normalize'>,
): Tensor {
  const [count, tokens, width] = hidden.shape as [number, number, number]
  return scope(() => {
    const states = hidden.cast('f32')
    const vectors =
      pooling === 'first'
        ? states.slice(1, 0, 1)
        : matmul(tensor(shares(lengths, tokens), [count, 1, tokens]), states)
    const flat = vectors.reshape([count, width])
    return normalize ? normalized(flat) : flat
  })
}

/** 1 / length for the tokens of a text, 0 for the filling. */
function shares(lengths: readonly number[], tokens: number): Float32Array {
  const values = new Float32Array(lengths.length * tokens)
  for (const [i, length] of lengths.entries()) values.fill(1 / length, i * tokens, i * tokens + length)
  return values
}

/** Rows of length 1; a row of zeros stays. */
const normalized = (x: Tensor): Tensor => x.div(x.norm(-1, { keepDims: true }).maximum(1e-12))
