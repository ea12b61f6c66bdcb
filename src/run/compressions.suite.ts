/** Compressions of the tiny models, each into a folder of its own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { fixturePath, numbers } from '../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import { randomStream, scope } from '../tensor/index.ts'
import type { CompressOptions } from './compress_options.ts'

/** A folder that goes when the tests are done, and options with a text and an output in it. */
export function compressions() {
  const folder = mkdtempSync(join(tmpdir(), 'compress-test-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const text = join(folder, 'text.txt')
  // The tokenizer of the fixtures knows lower-case letters, blanks and line ends.
  const words = randomStream(1, 'text').bits([3000]).toArray() as Uint32Array
  writeFileSync(text, Array.from(words, (word) => 'abcdefghijklmnopqrstuvwxy \n'[word % 27]).join(''))
  let count = 0
  const options = (extra: Partial<CompressOptions>): CompressOptions => ({
    source: fixturePath('llama-f16.gguf'),
    output: join(folder, `out-${++count}`),
    calibration: [text],
    samples: 4,
    length: 64,
    text: [text],
    context: 64,
    windows: 2,
    // Texts to time, in every run.
    speed: false,
    ...extra,
  })
  return { folder, options }
}

/** Logits of a model, or of the result of a run. */
export const logitsOf = (path: string, ids: Uint32Array) =>
  scope(() => {
    const open = openLanguageModel(path)
    try {
      return numbers(open.model.load().forward(ids))
    } finally {
      open.close()
    }
  })
