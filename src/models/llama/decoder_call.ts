/** A block of packed weights in one call of the native core, for rows with caches: native/src/decoder_block.rs. */
import type { Linear } from '../../nn/linear.ts'
import { packedOf } from '../../nn/values/packed_product.ts'
import { type State, scope, Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import type { SequenceRows, StageContext } from '../stage.ts'
import type { LlamaBlockWeights } from './block.ts'

/** Nothing where it cannot run: then the segments do. */
export type DecoderCall = (hidden: Tensor, context: StageContext) => Tensor | undefined

/**
 * The same as running the segments of the block, bit for bit, in less time: only where all weights are packed in the order
 * of their columns, and only for rows [rows, hidden] in f32 whose sequences have caches that can grow in place.
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
  let block: ReturnType<typeof packedBlock>
  return (hidden, { rotary, sequences, cache, bias }) => {
    const parts = linears.flatMap(({ source, bias }) => [source, bias])
    if (parts.some((part, i) => part !== seen[i])) {
      block = packedBlock(weights, linears, shape)
      seen = parts
    }
    if (!block || !rotary || hidden.rank !== 2 || hidden.dtype !== 'f32') return undefined
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

/** What the call needs of a block, where all its weights are packed alike. */
function packedBlock(
  { attentionNorm, mlpNorm }: LlamaBlockWeights,
  linears: readonly Linear[],
  { heads, kvHeads }: { heads: number; kvHeads: number },
) {
  const activations = packedOf(linears[0]!.source)?.activations
  if (!activations) return undefined
  const numbers = [attentionNorm.handle, mlpNorm.handle, heads, kvHeads]
  for (const { source, bias } of linears) {
    const packed = packedOf(source)
    if (!packed || packed.weight.order || packed.activations !== activations) return undefined
    const { form, bytes } = packed.weight
    const code = callNative((native) => native.packedFormCode(form))
    numbers.push(code, bytes.handle, bias?.handle ?? NONE)
  }
  return { numbers: Uint32Array.from(numbers), activations }
}

/** In place of a handle: nothing. */
const NONE = 0xffff_ffff

/** A state that the call writes into. */
const memoryOf = (state: State): number => state.change((_, handle) => handle as number)
