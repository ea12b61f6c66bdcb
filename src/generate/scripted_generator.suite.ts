/** A generator that writes what a script says, with the places, stops and chances of a real one. For tests. */
import { setImmediate, setTimeout } from 'node:timers/promises'
import { AbortError, OptionError } from '../tensor/errors.ts'
import type { GenerationEvent, GenerationRequest, TextGenerator, TokenChances } from './generation.ts'

export interface Script {
  context?: number
  /** Texts that are written at once. @default 4 */
  slots?: number
  /** The ids that follow; the text ends with `stop` behind them. @default the prompt again and again */
  write?: (request: GenerationRequest) => Iterable<number>
  /** Milliseconds of one step. @default 0, which is a turn of the event loop */
  pace?: number
  /** Turns ids into text, a new one for each text. */
  stream: () => { push(id: number): string; end(): string }
}

export interface ScriptedGenerator extends TextGenerator {
  /** Steps of all texts so far. */
  steps: () => number
}

/** Chances that tests can foretell: a token has -id / 1000, the ones beside it follow in steps of 0.5. */
export const scriptedChances = (id: number, count: number): TokenChances => ({
  id,
  logprob: -id / 1000,
  top: Array.from({ length: count }, (_, i) => ({ id: id + i, logprob: -id / 1000 - i / 2 })),
})

export function scriptedGenerator({
  context = 256,
  slots = 4,
  write = repeated,
  pace = 0,
  stream,
}: Script): ScriptedGenerator {
  const waiting: (() => void)[] = []
  const closed = new AbortController()
  let [running, steps] = [0, 0]
  const step = async (signal: AbortSignal) => {
    steps += 1
    await (pace === 0 ? setImmediate() : setTimeout(pace))
    if (signal.aborted) throw new AbortError()
  }
  const leave = () => {
    running -= 1
    waiting.shift()?.()
  }
  const enter = async (signal: AbortSignal) => {
    if (running >= slots)
      await new Promise<void>((resolve, reject) => {
        waiting.push(resolve)
        signal.addEventListener('abort', () => {
          if (!waiting.includes(resolve)) return
          waiting.splice(waiting.indexOf(resolve), 1)
          reject(new AbortError())
        })
      })
    running += 1
  }

  async function* generate(
    request: GenerationRequest,
    { signal: outer }: { signal?: AbortSignal } = {},
  ): AsyncGenerator<GenerationEvent, void, void> {
    const { prompt, maxTokens = context - prompt.length, stop = [], logprobs, promptLogprobs } = request
    if (prompt.length + maxTokens > context)
      throw new OptionError(
        `prompt: ${context} tokens fit, got ${prompt.length} and ${maxTokens} more; shorten it`,
      )
    const signal = outer ? AbortSignal.any([outer, closed.signal]) : closed.signal
    if (signal.aborted) throw new AbortError()
    await enter(signal)
    try {
      await step(signal)
      const chances = Array.from(prompt.subarray(1), (id) => scriptedChances(id, logprobs ?? 0))
      yield { kind: 'prompt', tokens: prompt.length, ...(promptLogprobs ? { chances } : {}) }
      const text = stream()
      let [held, tokens] = ['', 0]
      for (const id of write(request)) {
        if (tokens === maxTokens) break
        await step(signal)
        tokens += 1
        held += text.push(id)
        const found = stop.find((one) => held.includes(one))
        const certain = found === undefined ? held.length - begun(held, stop) : held.indexOf(found)
        const shown = held.slice(0, certain)
        held = held.slice(certain)
        const told = logprobs === undefined ? {} : { chances: scriptedChances(id, logprobs) }
        yield { kind: 'token', id, text: shown, ...told }
        if (found !== undefined)
          return yield { kind: 'end', text: '', reason: 'stop', tokens, stopText: found }
      }
      const reason = tokens === maxTokens ? 'length' : 'stop'
      yield { kind: 'end', text: held + text.end(), reason, tokens }
    } finally {
      leave()
    }
  }
  return {
    context,
    generate,
    load: () => ({ running, waiting: waiting.length }),
    async close() {
      closed.abort()
    },
    steps: () => steps,
  }
}

function* repeated({ prompt }: GenerationRequest): Generator<number> {
  for (;;) yield* prompt
}

/** Characters at the end that may begin a stop text. */
function begun(text: string, stop: readonly string[]): number {
  const lengths = stop.flatMap((one) => Array.from({ length: one.length - 1 }, (_, i) => one.slice(0, i + 1)))
  return Math.max(0, ...lengths.filter((start) => text.endsWith(start)).map(({ length }) => length))
}
