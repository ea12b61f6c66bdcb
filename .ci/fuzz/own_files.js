/** Readers of the files that Pare writes for itself: the journal of a run, its report, and recipes. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readJournal } from '../../dist/run/journal.js'
import { readReport } from '../../dist/run/report_file.js'
import { damageBytes, joinBytes } from './bytes.js'
import { damageJson } from './json.js'
import { need } from './reading.js'

const written = (name) =>
  new Uint8Array(readFileSync(fileURLToPath(new URL(`../../src/run/version_1/${name}`, import.meta.url))))
const lines = Buffer.from(written('journal.jsonl'))
  .toString()
  .trimEnd()
  .split('\n')
  .map((line) => new Uint8Array(Buffer.from(line)))
/** With fewer layers, which are alike. */
const report = (() => {
  const { layers, ...rest } = JSON.parse(Buffer.from(written('report.json')).toString())
  return new Uint8Array(Buffer.from(JSON.stringify({ ...rest, layers: layers.slice(0, 2) })))
})()
const end = Uint8Array.of(10)

const journal = {
  name: 'journal',
  make(random) {
    const changed = [...lines]
    for (let i = random.pick([0, 0, 1, 2]); i >= 0 && changed.length > 0; i--) {
      const at = random.below(changed.length)
      switch (random.below(4)) {
        case 0:
          changed.splice(at, 1)
          break
        case 1:
          changed.splice(random.below(changed.length + 1), 0, changed[at])
          break
        default:
          changed[at] = (lines.includes(changed[at]) ? damageJson : damageBytes)(changed[at], random)
      }
    }
    const whole = joinBytes(...changed.flatMap((line) => [line, end]))
    return { 'journal.jsonl': random.once(4) ? damageBytes(whole, random) : whole }
  },
  read(files, place) {
    const state = readJournal(join(place.folder(files), 'journal.jsonl'))
    need(
      state === undefined || state.length <= files['journal.jsonl'].length,
      'a journal longer than its file',
    )
  },
}
export const ownFileReaders = [
  journal,
  {
    name: 'report',
    make: (random) => ({ 'report.json': damageJson(report, random) }),
    read: (files, place) =>
      need(readReport(place.folder(files)).layers.length >= 0, 'a report without layers'),
  },
]
