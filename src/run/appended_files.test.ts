/** Files that lines are added to, where the system takes no more of them. */
import fs, { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { JournalWriter } from './journal.ts'
import { TrainingLog } from './training_log.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-appended-'))
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true })
})
const tooLarge = () =>
  vi.spyOn(fs, 'writeSync').mockImplementation(() => {
    throw Object.assign(new Error('too large'), { code: 'EFBIG' })
  })
const refusal = (needed: number) =>
  expect.objectContaining({
    code: 'PARE_E_FILE_TOO_LARGE',
    facts: expect.objectContaining({ needed }),
    message: expect.stringMatching(/; raise the limit \(ulimit -f\), or write to another file system$/),
  })

test('a journal is refused with its whole size, those lines included that it has', () => {
  const path = join(folder, 'journal.jsonl')
  writeFileSync(path, 'x'.repeat(100))
  const journal = new JournalWriter(path, 100)
  journal.append({ kind: 'done' })
  const line = '{"kind":"done"}\n'.length
  tooLarge()
  expect(() => journal.append({ kind: 'done' })).toThrow(refusal(100 + 2 * line))
  journal.close()
})
test('the log of a training too, the lines of earlier sittings included', () => {
  const path = join(folder, 'log.jsonl')
  const entry = { step: 1, epoch: 1, seconds: 2 }
  const line = JSON.stringify(entry).length + 1
  new TrainingLog(path, 0).append(entry)
  const log = new TrainingLog(path, 1)
  tooLarge()
  expect(() => log.append(entry)).toThrow(refusal(2 * line))
  log.close()
})
