/** A block of stored weights in one call of the native core, for rows with caches: native/src/decoder_block.rs. */
import type { Linear } from '../../nn/linear.ts'
import { fewRows } from '../../nn/values/packed_product.ts'
import { NONE, storedOf } from '../../nn/values/stored_words.ts'
import { type State, scope, Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import type { SequenceRows, StageContext } from '../stage.ts'
import type { LlamaBlockWeights } from './block.ts'

/** Nothing where it cannot run: then the segments do. */
export type DecoderCall = (hidden: Tensor, context: StageContext) => Tensor | undefined

/**
 * The same as running the segments of the block, bit for bit, in less time: only where all weights are read as they are stored,
 * and only for rows [rows, hidden] in f32 whose sequences have caches that can grow in place.
 */
export function decoderCall(
  index: number,
  weights: LlamaBlockWeights,
  shape: { heads: number; kvHeads: number; epsilon: number },
): DecoderCall {
  const { q, k, v, o, gate, up, down } = weights
  const linears = [q, k, v, o, gate, up, down]
  // Sources and biases may be exchanged.
  let seen: readonly unknown[] = []
  let block: ReturnType<typeof storedBlock>
  return (hidden, { rotary, sequences, cache, bias }) => {
    const parts = linears.flatMap(({ source, bias }) => [source, bias])
    if (parts.some((part, i) => part !== seen[i])) {
      block = storedBlock(weights, linears, shape)
      seen = parts
    }
    if (!block || !rotary || hidden.rank !== 2 || hidden.dtype !== 'f32') return undefined
    if (block.fewOnly && hidden.extent(0) > fewRows) return undefined
    const all: readonly SequenceRows[] = sequences ?? [
      { tokens: hidden.extent(0), ...(cache ? { cache } : {}), ...(bias ? { bias } : {}) },
    ]
    if (!all.every((rows) => rows.cache?.extend)) return undefined
    const { heads, kvHeads } = shape
    const size = k.source.shape[0] / kvHeads
    return scope(() => {
      const rows = all.flatMap(({ tokens, cache, bias }) => {
        const { past, keys, values } = cache!.extend!(index, tokens, { kvHeads, size })
        const wide = bias?.expand([1, heads, tokens, past + tokens]).contiguous()
        return [tokens, past, memoryOf(keys), memoryOf(values), wide?.handle ?? NONE]
      })
      const { cos, sin } = rotary
      const handle = callNative((native) =>
        native.decoderBlock(
          block!.numbers,
          shape.epsilon,
          block!.activations,
          hidden.handle,
          cos.handle,
          sin.handle,
          Uint32Array.from(rows),
        ),
      )
      return new Tensor(hidden.kernels, handle, 'f32', hidden.shape)
    })
  }
}

/** What the call needs of a block, where all its weights are read as they are stored, with the same inputs. */
function storedBlock(
  { attentionNorm, mlpNorm }: LlamaBlockWeights,
  linears: readonly Linear[],
  { heads, kvHeads }: { heads: number; kvHeads: number },
) {
  const activations = storedOf(linears[0]!.source)?.activations
  if (!activations) return undefined
  const numbers = [attentionNorm.handle, mlpNorm.handle, heads, kvHeads]
  let fewOnly = false
  for (const { source, bias } of linears) {
    const stored = storedOf(source)
    if (stored?.activations !== activations) return undefined
    numbers.push(...stored.words, bias?.handle ?? NONE)
    fewOnly ||= stored.fewOnly
  }
  return { numbers: Uint32Array.from(numbers), activations, fewOnly }
}

/** A state that the call writes into. */
const memoryOf = (state: State): number => state.change((_, handle) => handle as number)
