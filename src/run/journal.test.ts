import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { StateError } from '../tensor/errors.ts'
import { JournalWriter, readJournal } from './journal.ts'
import type { JournalEntry, StageEntry } from './journal_entries.ts'

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'journal-test-'))
  path = join(folder, 'journal.jsonl')
})
afterEach(() => rmSync(folder, { recursive: true }))

const stage = (index: number): JournalEntry => ({
  kind: 'stage',
  index,
  name: `block.${index}`,
  shard: { name: `stage-000${index}.safetensors`, bytes: 1, sha256: 'a'.repeat(64) },
  layers: [],
  remarks: [],
  seconds: index,
})
const whole: JournalEntry[] = [
  { kind: 'run', version: 1, fingerprint: { seed: 0, source: 'ab' } },
  stage(0),
  stage(1),
  { kind: 'result', files: [{ name: 'config.json', bytes: 2 }], seconds: 3 },
  { kind: 'publish', files: ['config.json'] },
  { kind: 'done' },
]
function write(entries: readonly JournalEntry[]): void {
  const writer = new JournalWriter(path, 0)
  for (const entry of entries) writer.append(entry)
  writer.close()
}

test('what was written is read again', () => {
  write(whole)
  const state = readJournal(path)!
  expect(state.stages).toEqual([stage(0), stage(1)])
  expect([state.fingerprint, state.publish, state.done]).toEqual([
    { seed: 0, source: 'ab' },
    ['config.json'],
    true,
  ])
  expect(state.length).toBe(readFileSync(path).length)
})
test('no file, and a first line that is cut short, are no journal', () => {
  expect(readJournal(path)).toBeUndefined()
  writeFileSync(path, '{"kind":"run","ver')
  expect(readJournal(path)).toBeUndefined()
})
test('cut at any byte, it has the lines that are whole, and goes on behind them', () => {
  write(whole.slice(0, 3))
  const bytes = readFileSync(path)
  const ends = [...bytes.keys()].filter((i) => bytes[i] === 10)
  fc.assert(
    fc.property(fc.integer({ min: ends[0]! + 1, max: bytes.length }), (cut) => {
      writeFileSync(path, bytes.subarray(0, cut))
      const state = readJournal(path)!
      const lines = ends.filter((end) => end < cut).length
      expect([state.stages.length, state.length]).toEqual([lines - 1, ends[lines - 1]! + 1])
      const writer = new JournalWriter(path, state.length)
      writer.append(stage(lines - 1))
      writer.close()
      expect(readJournal(path)!.stages).toHaveLength(lines)
    }),
    { numRuns: 50 },
  )
})
test.each([
  ['a stage that is left out', [whole[0]!, stage(1)]],
  ['a shard of another stage', [whole[0]!, { ...stage(0), shard: (stage(1) as StageEntry).shard }]],
  ['a stage behind the result', [...whole.slice(0, 4), stage(2)]],
  ['files that move before there is a result', [whole[0]!, stage(0), whole[4]!]],
  ['an end before the files moved', [...whole.slice(0, 4), whole[5]!]],
  ['a line behind the end', [...whole, stage(2)]],
  ['two runs', [whole[0]!, whole[0]!]],
] as [string, JournalEntry[]][])('%s is refused', (_, entries) => {
  write(entries)
  expect(() => readJournal(path)).toThrow(StateError)
})
test('a folder in its place is refused', () => {
  mkdirSync(path)
  expect(() => readJournal(path)).toThrow(StateError)
})
test('a damaged line that is not the last one is named by its number', () => {
  write(whole.slice(0, 2))
  appendFileSync(path, `nonsense\n${JSON.stringify(stage(1))}\n`)
  expect(() => readJournal(path)).toThrow(/line 3 is damaged; give --restart/)
})
