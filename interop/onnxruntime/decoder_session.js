// A decoder in onnxruntime, with its cache.
import { InferenceSession, Tensor } from 'onnxruntime-node'

const whole = (values, shape) => new Tensor('int64', BigInt64Array.from(values, BigInt), shape)

export const openSession = (path) =>
  InferenceSession.create(path, { intraOpNumThreads: 2, logSeverityLevel: 3 })

export class Decoder {
  constructor(session) {
    this.session = session
    this.caches = session.inputMetadata.filter(({ name }) => name.startsWith('past_key_values.'))
  }

  static open = async (path) => new Decoder(await openSession(path))

  /** The cache of no tokens. */
  empty(batch) {
    return Object.fromEntries(
      this.caches.map(({ name, type, shape: [, heads, , size] }) => {
        const none = type === 'float16' ? new Uint16Array(0) : new Float32Array(0)
        return [name, new Tensor(type, none, [batch, heads, 0, size])]
      }),
    )
  }

  /**
   * @param rows of ids and of 0 and 1 for what is no filling, which begins with the tokens of the cache
   * @returns logits [rows * new tokens, vocabulary] and the next cache
   */
  async run(rows, masks, positions, cache) {
    const [batch, fresh] = [rows.length, rows[0].length]
    const outputs = await this.session.run({
      input_ids: whole(rows.flat(), [batch, fresh]),
      attention_mask: whole(masks.flat(), [batch, masks[0].length]),
      position_ids: whole(positions.flat(), [batch, fresh]),
      ...cache,
    })
    const next = this.caches.map(({ name }) => [name, outputs[name.replace('past_key_values', 'present')]])
    return { logits: outputs.logits.data, cache: Object.fromEntries(next) }
  }

  /** Logits of one sequence, `step` tokens at a time behind the first ones. */
  async logits(ids, prefill = ids.length) {
    let cache = this.empty(1)
    const all = []
    for (let start = 0; start < ids.length; start = all.length === 1 ? prefill : start + 1) {
      const end = start === 0 ? prefill : start + 1
      const positions = Array.from({ length: end - start }, (_, i) => start + i)
      const result = await this.run([ids.slice(start, end)], [Array(end).fill(1)], [positions], cache)
      cache = result.cache
      all.push(result.logits)
    }
    return all.flatMap((part) => [...part])
  }

  /** Logits of each sequence, of a batch that is filled before or behind. */
  async padded(sequences, side) {
    const longest = Math.max(...sequences.map(({ length }) => length))
    const fill = (list) => {
      const filling = Array(longest - list.length).fill(0)
      return side === 'before' ? [...filling, ...list] : [...list, ...filling]
    }
    const masks = sequences.map((ids) => fill(ids.map(() => 1)))
    const positions = sequences.map((ids) => fill(ids.map((_, i) => i)))
    const { logits } = await this.run(sequences.map(fill), masks, positions, this.empty(sequences.length))
    const width = logits.length / masks.length / longest
    return sequences.map(({ length }, row) => {
      const start = row * longest + (side === 'before' ? longest - length : 0)
      return logits.slice(start * width, (start + length) * width)
    })
  }
}

/** Hidden states of the tokens of each sequence of an encoder, of one batch that is filled behind. */
export async function encoderStates(path, sequences) {
  const session = await openSession(path)
  const longest = Math.max(...sequences.map(({ length }) => length))
  const fill = (list) => [...list, ...Array(longest - list.length).fill(0)]
  const shape = [sequences.length, longest]
  const { last_hidden_state: states } = await session.run({
    input_ids: whole(sequences.flatMap(fill), shape),
    attention_mask: whole(
      sequences.flatMap((ids) => fill(ids.map(() => 1))),
      shape,
    ),
    token_type_ids: whole(Array(sequences.length * longest).fill(0), shape),
  })
  const width = states.dims[2]
  return sequences.flatMap(({ length }, row) => [
    ...states.data.slice(row * longest * width, (row * longest + length) * width),
  ])
}

/** Logits of images [batch, channels, height, width]. */
export async function imageLogits(path, pixels, shape) {
  const session = await openSession(path)
  const { logits } = await session.run({ pixel_values: new Tensor('float32', pixels, shape) })
  return logits.data
}
