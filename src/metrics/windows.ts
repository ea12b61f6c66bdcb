/** Which tokens of a text are scored: the protocol is part of every perplexity. */
import { OptionError } from '../tensor/errors.ts'

export type Protocol = 'nonoverlap' | 'llama.cpp'

export interface Windows {
  /** `512/nonoverlap` or `llama.cpp/512` */
  readonly protocol: string
  readonly windows: readonly Uint32Array[]
  /** Predictions of a window that count: those made at positions from here to the last but one. */
  readonly firstScored: number
  /** Why there are fewer windows than asked for. */
  readonly note?: string
}

export interface WindowOptions {
  /** Tokens a window. @default 512 */
  context?: number
  /** Windows at most. @default 20 */
  count?: number
  /** Takes every n-th window of the text. @default 1 */
  every?: number
  /** @default 'nonoverlap' */
  protocol?: Protocol
  /** First token of every llama.cpp window, where the tokenizer adds one. */
  bos?: number | undefined
}

/** The options with their defaults. @throws OptionError for one that is no whole number. */
function checked({ context = 512, count = 20, every = 1, protocol = 'nonoverlap', bos }: WindowOptions) {
  for (const [name, value, least] of [
    ['--context', context, 2],
    ['--windows', count, 1],
    ['--every', every, 1],
  ] as const) {
    if (!Number.isInteger(value) || value < least)
      throw new OptionError(`${name}: a whole number from ${least} on is needed, got ${value}`)
  }
  return { context, count, every, protocol, bos }
}

/** How many tokens of a text its windows reach; those behind them need not be read. */
export function tokensOfWindows(options: WindowOptions = {}): number {
  const { context, count, every } = checked(options)
  return (count - 1) * every * context + context
}

/**
 * Windows at index 0, every, 2 * every ... of the text cut into pieces of `context` tokens.
 *
 * `nonoverlap`: every prediction of a window counts; the mean of the windows' means is exponentiated.
 * `llama.cpp`: only the second half of a window counts, and its first token is BOS where the model uses one; the
 * mean over all scored tokens is exponentiated.
 *
 * @throws OptionError where the text is shorter than one window.
 */
export function cutWindows(tokens: Uint32Array, options: WindowOptions = {}): Windows {
  const { context, count, every, protocol, bos } = checked(options)
  const windows: Uint32Array[] = []
  for (let index = 0; windows.length < count; index += every) {
    const start = index * context
    if (start + context > tokens.length) break
    const window = tokens.slice(start, start + context)
    if (protocol === 'llama.cpp' && bos !== undefined) window[0] = bos
    windows.push(window)
  }
  if (windows.length === 0) {
    throw new OptionError(
      `evaluation: one window needs ${context} tokens, the text has ${tokens.length}; give more text or a smaller --context`,
      { code: 'PARE_E_SHORT_TEXT', facts: { needed: context, found: tokens.length } },
    )
  }
  const note =
    windows.length < count ? `the text holds ${windows.length} of the ${count} windows asked for` : undefined
  return {
    protocol: protocol === 'llama.cpp' ? `llama.cpp/${context}` : `${context}/nonoverlap`,
    windows,
    firstScored: protocol === 'llama.cpp' ? context >> 1 : 0,
    ...(note ? { note } : {}),
  }
}
