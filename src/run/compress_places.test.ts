import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { OptionError, SourceError } from '../tensor/errors.ts'
import { compress } from './compress.ts'
import { checkPlaces } from './compress_places.ts'

const folder = mkdtempSync(join(tmpdir(), 'compress-places-test-'))
const file = join(folder, 'file.txt')
beforeAll(() => writeFileSync(file, 'text'))
afterAll(() => rmSync(folder, { recursive: true }))

const output = join(folder, 'new', 'out')
const none = join(folder, 'none')
/** The model is not there either: what is refused first was looked at first. */
const refusal = async (places: object) => {
  const events: unknown[] = []
  const error = await compress(
    { source: join(folder, 'missing.gguf'), output, ...places },
    { progress: (event) => events.push(event) },
  ).catch((error: unknown) => error)
  expect(events).toEqual([])
  expect(readdirSync(folder)).toEqual(['file.txt'])
  return error as OptionError | SourceError
}

test.each([
  ['a calibration text that is not there', { calibration: [file, none] }, SourceError, none],
  ['an evaluation text that is a folder', { text: [folder] }, SourceError, folder],
  ['a text that the method would not use', { method: 'rtn', calibration: [none] }, SourceError, none],
  ['a scratch that is not there', { scratch: none }, OptionError, `--scratch: ${none}`],
  ['a scratch that is a file', { scratch: file }, OptionError, `--scratch: ${file}`],
  ['an output below a file', { output: join(file, 'out') }, SourceError, join(file, 'out')],
] as const)('%s is refused before the model is looked for', async (_, places, kind, subject) => {
  const error = await refusal(places)
  expect(error).toBeInstanceOf(kind)
  expect(error.message.startsWith(subject)).toBe(true)
})
test('an option that cannot be is refused before any place is looked at', async () => {
  expect((await refusal({ scratch: none, embedding: 'Q9' })).message).toMatch(/--embedding/)
})
test('places that can be used pass, and nothing is made', () => {
  const places = {
    output,
    overwrite: false,
    restart: false,
    calibration: [file],
    text: undefined,
    scratch: folder,
  }
  expect(() => checkPlaces(places)).not.toThrow()
  expect(readdirSync(folder)).toEqual(['file.txt'])
})
