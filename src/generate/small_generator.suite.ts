/** A generator over the small model that comes with Pare, and what a text of it is made of. */
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { openLanguageModel } from '../models/load_model.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { currentKernels } from '../tensor/index.ts'
import type { GenerationEvent, GenerationRequest, TextGenerator } from './generation.ts'
import { createTextGenerator, type TextGeneratorOptions } from './text_generator.ts'

export const openSmall = (): OpenLanguageModel =>
  openLanguageModel(fileURLToPath(new URL('../../experiments/models/pare-4m', import.meta.url)))

export async function written(generator: TextGenerator, request: GenerationRequest, signal?: AbortSignal) {
  const events: GenerationEvent[] = []
  for await (const event of generator.generate(request, signal ? { signal } : {})) events.push(event)
  const tokens = events.flatMap((event) => (event.kind === 'token' ? [event] : []))
  const end = events.at(-1)
  if (end?.kind !== 'end') throw new Error('no end')
  const text = tokens.map((token) => token.text).join('') + end.text
  return {
    events,
    tokens: tokens.map(({ id }) => id),
    chances: tokens.map(({ chances }) => chances),
    text,
    end,
  }
}

/** Runs `body` with a generator, and sees that no tensor is left behind. */
export async function withGenerator<T>(
  open: OpenLanguageModel,
  options: TextGeneratorOptions,
  body: (generator: TextGenerator) => Promise<T>,
): Promise<T> {
  const before = currentKernels().memory().tensors
  const generator = createTextGenerator(open, options)
  try {
    return await body(generator)
  } finally {
    await generator.close()
    expect(currentKernels().memory().tensors).toBe(before)
  }
}
