/**
 * Texts that one model writes at the same time, in this thread. Each step runs the newest token of every text and pieces
 * of prompts, then leaves the thread to others.
 */
import type { OpenLanguageModel } from '../models/open_model.ts'
import { AbortError } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import { checkedRequest } from './checked_request.ts'
import { EventQueue } from './event_queue.ts'
import type { GenerationEvent, TextGenerator } from './generation.ts'
import { settingsFor, type TextGeneratorOptions } from './generator_settings.ts'
import { RunningTexts } from './running_texts.ts'
import { Sequence } from './sequence.ts'

export type { TextGeneratorOptions } from './generator_settings.ts'

/**
 * Loads the weights and writes with them. `open` stays the caller's, and open until the generator is closed, since rows
 * of the embedding are read from it. A request waits from the moment that its first event is asked for.
 *
 * @throws OptionError where options do not fit the model, FormatError where it has no tokenizer
 * @example
 * const open = openLanguageModel('models/smollm2')
 * const generator = createTextGenerator(open)
 * const prompt = open.tokenizer().encode('Once upon a time')
 * for await (const event of generator.generate({ prompt, maxTokens: 50, temperature: 0.7, topP: 0.9 }))
 *   if (event.kind !== 'prompt') process.stdout.write(event.text)
 * await generator.close()
 * open.close()
 */
export function createTextGenerator(
  open: OpenLanguageModel,
  options: TextGeneratorOptions = {},
): TextGenerator {
  const { vocabulary } = open.model.config
  const settings = settingsFor(open.model.config, options)
  const { context, packed } = settings
  const tokenizer = open.tokenizer()
  const texts = new RunningTexts(
    scope(() => (packed ? open.model.loadPacked(packed) : open.model.load(settings.dtype))),
    settings,
  )
  return {
    context,
    load: () => texts.load(),
    close: async () => texts.close(),
    generate(request, { signal } = {}) {
      const abort = () => events.abort(new AbortError())
      const events = new EventQueue<GenerationEvent>({
        started() {
          if (signal?.aborted) throw new AbortError()
          texts.enter(new Sequence(checkedRequest(request, { context, vocabulary }), tokenizer, events))
          signal?.addEventListener('abort', abort, { once: true })
        },
        taken: () => texts.wake(),
        ended() {
          signal?.removeEventListener('abort', abort)
          texts.wake()
        },
      })
      return events
    },
  }
}
