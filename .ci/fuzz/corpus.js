/**
 * The stored corpus: files in which a fault was found, in `corpus/`, and hostile ones that `hand_made.js` puts together.
 * `corpus/expected.json` says of each file what must happen: `opens`, the code of the error, the beginning of one that
 * several rules may give, or `ends` where either will do.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { handMade } from './hand_made.js'

const folder = fileURLToPath(new URL('./corpus', import.meta.url))

/** Each folder holds the files of one case. */
function stored() {
  const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8'))
  return Object.entries(expected).map(([name, { reader, expect }]) => ({
    reader,
    name,
    expect,
    files: Object.fromEntries(
      readdirSync(join(folder, name)).map((file) => [
        file,
        new Uint8Array(readFileSync(join(folder, name, file))),
      ]),
    ),
  }))
}

/** Every case of the corpus, in a fixed order. */
export const corpus = () => [...stored(), ...handMade]

const fits = (expect, outcome) =>
  expect === 'ends' || outcome === expect || (expect.endsWith('_') && outcome.startsWith(expect))

/** What is wrong with what came of a case; nothing where all is as it must be. */
export function judge({ expect }, found, limits, bytes) {
  const outcome = found.outcome.replace('refused ', '').replace('opened', 'opens')
  if (found.wrong !== undefined) return found.wrong
  if (!fits(expect, outcome)) return `must end in ${expect}, ended in ${outcome}`
  if (found.milliseconds > limits.milliseconds)
    return `takes ${found.milliseconds.toFixed(0)} ms of the processor`
  if (found.memory > limits.memory(bytes))
    return `takes ${(found.memory / 2 ** 20).toFixed(0)} MiB for ${bytes} bytes`
  return undefined
}

export const bytesOfCase = (files) => Object.values(files).reduce((sum, { length }) => sum + length, 0)
