/** What the trials of `pare compress` share: the command, and the bytes that it leaves. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { hashOf as hashOfFiles, pare } from './pare_process.js'

const tiny = fileURLToPath(new URL('../interop/fixtures/llama-f16.gguf', import.meta.url))

/** Runs `pare compress`, with the options of `pare`. */
export const compress = (args, output, options) => pare(['compress', ...args, '--output', output], options)

/** Files that hold the model; the report and the journal also hold times. */
export const hashOf = (output) => hashOfFiles(output, ['report.json', 'journal.jsonl', 'report.html'])

/** A random model of two blocks, with a text of its own in `folder`: its tokenizer knows lower-case letters only. */
export function tinyArguments(folder, random) {
  const text = join(folder, 'text.txt')
  const letters = 'abcdefghijklmnopqrstuvwxy \n'
  writeFileSync(text, Array.from({ length: 4000 }, () => letters[Math.floor(random() * 27)]).join(''))
  const short = '--bits 3 --group-size 16 --samples 8 --length 64 --context 64 --windows 2 --no-speed'.split(
    ' ',
  )
  return [tiny, '--calib', text, '--text', text, ...short]
}
