import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { plan } from './plan.ts'

const source = fileURLToPath(new URL('../../interop/fixtures/llama-f16.gguf', import.meta.url))
const notesOf = async (options: object) =>
  (await plan({ source, probe: false, evaluate: false, ...options })).notes

test('a plan says which flags of a calibration change nothing', async () => {
  expect(await notesOf({ method: 'rtn', samples: 4, length: 32 })).toContain(
    '--samples, --length: not used, rtn is not calibrated',
  )
  expect(String(await notesOf({ method: 'gptq', samples: 4, length: 32 }))).not.toContain('not used')
  expect(String(await notesOf({ method: 'rtn' }))).not.toContain('not used')
})
test('a plan refuses a text that is not there, as the run would', async () => {
  await expect(notesOf({ method: 'rtn', calibration: ['/nowhere/text.txt'] })).rejects.toThrow(
    '/nowhere/text.txt',
  )
})
test('groups that are wider than rows are told', async () => {
  expect(String(await notesOf({ method: 'rtn', groupSize: 4096 }))).toMatch(
    /groups of 4096 are wider than the rows of \d+ of \d+ linear weights: there a group is a row/,
  )
  expect(String(await notesOf({ method: 'rtn', groupSize: 32 }))).not.toContain('wider than')
})
