/** A compression of a second, and a disk that ends it behind a line of its journal; for tests of what is left. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Disk, systemDisk } from '../formats/disk.ts'
import { Killed } from '../formats/fragile_disk.suite.ts'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { randomStream } from '../tensor/index.ts'
import type { CompressOptions } from './compress_options.ts'

/** Writes a text of letters that the tokenizer of the fixtures knows. */
export function writeText(path: string): string {
  const words = randomStream(1, 'text').bits([600]).toArray() as Uint32Array
  writeFileSync(path, Array.from(words, (word) => 'abcdefghijklmnopqrstuvwxy \n'[word % 27]).join(''))
  return path
}

export const smallRun = (text: string, output: string): CompressOptions => ({
  source: fixturePath('llama-f16.gguf'),
  output,
  bits: 3,
  groupSize: 16,
  calibration: [text],
  samples: 2,
  length: 32,
  evaluate: false,
  probe: false,
})

/** The cause of an error may be that the process is no more. */
export const isKilled = (error: unknown): boolean =>
  error instanceof Killed || (error instanceof Error && isKilled(error.cause))

/** Does everything until a line of this kind is flushed, and then nothing, not even a clean-up. */
export function diskUntil(kind: 'run' | 'transform' | 'stage' | 'tuned' | 'result' | 'publish'): Disk {
  let [written, dead] = [false, false]
  const alive =
    <Arguments extends unknown[], Result>(run: (...args: Arguments) => Result) =>
    (...args: Arguments): Result => {
      if (dead) throw new Killed()
      return run(...args)
    }
  return {
    create: alive(systemDisk.create),
    openToAppend: alive(systemDisk.openToAppend),
    write: alive((descriptor, bytes, position) => {
      systemDisk.write(descriptor, bytes, position)
      written ||= Buffer.from(bytes).toString('utf8', 0, 80).startsWith(`{"kind":"${kind}"`)
    }),
    truncate: alive(systemDisk.truncate),
    syncFile: alive((descriptor) => {
      systemDisk.syncFile(descriptor)
      dead = written
    }),
    close: systemDisk.close,
    syncFolder: alive(systemDisk.syncFolder),
    rename: alive(systemDisk.rename),
    makeFolder: alive(systemDisk.makeFolder),
    remove: alive(systemDisk.remove),
  }
}

/** What other programs read of a result, by name; the card, the page and the records also hold times. */
export const modelOf = (output: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(output, { recursive: true, encoding: 'utf8' })
      .filter((name) => statSync(join(output, name)).isFile())
      .filter((name) => !/^(README\.md|report\.\w+|journal\.jsonl)$/.test(name))
      .sort()
      .map((name) => [name, readFileSync(join(output, name)).toString('base64')]),
  )
