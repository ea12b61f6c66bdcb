/** What Pare promises of the files that it writes: later versions read them, and newer ones are refused in words. */
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { pareFolderVersion } from '../formats/pare_folder.ts'
import { openLanguageModel } from '../models/load_model.ts'
import { FormatError, StateError } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import { readJournal } from './journal.ts'
import { JOURNAL_VERSION } from './journal_entries.ts'
import { recipeVersion } from './recipe.ts'
import { fromRecipe } from './recipe_options.ts'
import { readReport, reportVersion } from './report_file.ts'
import { reportPage } from './report_page/report_page.ts'

/** Files as version N wrote them; they stay as they are. */
const written = (version: number) => fileURLToPath(new URL(`version_${version}`, import.meta.url))
const first = written(1)

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'file-versions-test-'))
  cpSync(first, folder, { recursive: true })
})
afterEach(() => rmSync(folder, { recursive: true }))
const change = (file: string, from: string, to: string) => {
  const path = join(folder, file)
  const text = readFileSync(path, 'utf8')
  expect(text).toContain(from)
  writeFileSync(path, text.replace(from, to))
}
const newer = (message: RegExp) =>
  expect.objectContaining({ code: 'PARE_E_NEWER_FILE', message: expect.stringMatching(message) })

test('every version that was ever written has files here', () => {
  for (let version = 1; version <= JOURNAL_VERSION; version++)
    expect(existsSync(join(written(version), 'journal.jsonl'))).toBe(true)
  for (let version = 1; version <= reportVersion; version++)
    expect(existsSync(join(written(version), 'report.json'))).toBe(true)
  for (let version = 1; version <= pareFolderVersion; version++)
    expect(existsSync(join(written(version), 'folder/pare.json'))).toBe(true)
})

test('a journal of version 1 is read', () => {
  const state = readJournal(join(first, 'journal.jsonl'))!
  expect(state.done).toBe(true)
  expect(state.stages.map(({ name, layers }) => [name, layers.length])).toEqual([
    ['block.0', 7],
    ['block.1', 7],
  ])
  expect(state.fingerprint['steps[0].bits']).toBe(3)
  expect(state.publish).toContain('model.safetensors')
})
test('a report of version 1 is read and shown', () => {
  const report = readReport(first)
  expect(report.reportVersion).toBe(1)
  expect(report.layers[0]).toMatchObject({ name: 'model.layers.0.self_attn.q_proj.weight', bits: 6 })
  expect(reportPage(report)).toContain('llama-f16.gguf')
})
test('a Pare folder of version 1 is read, with grids of every kind and blocks', () => {
  const { weights, close } = openLanguageModel(join(first, 'folder'))
  const hash = createHash('sha256')
  for (const name of [...weights.infos.keys()].sort())
    scope(() => hash.update(name).update(weights.load(name).bytes()))
  close()
  // Of the values that were written: codes times scales are exact in f32.
  expect(hash.digest('hex')).toBe('b7f44ac661fa950c5310a4f6114dd11f233423f7f20cbfade46c7ad75956d816')
})
test('a Pare folder of version 2 is read, with weights of every kind', () => {
  const { weights, close } = openLanguageModel(join(written(2), 'folder'))
  const hash = createHash('sha256')
  for (const name of [...weights.infos.keys()].sort())
    scope(() => hash.update(name).update(weights.load(name).bytes()))
  close()
  expect(hash.digest('hex')).toBe('0c43593153697c2d8f45030effbc82a2368c4293f4554a9f6c24e95e6f73a61e')
})
test('a Pare folder of version 3 is read, with sums that are rounded', () => {
  const { weights, close } = openLanguageModel(join(written(3), 'folder'))
  const hash = createHash('sha256')
  for (const name of [...weights.infos.keys()].sort())
    scope(() => hash.update(name).update(weights.load(name).bytes()))
  close()
  // Of the SpQR checkpoint that it was written from.
  expect(hash.digest('hex')).toBe('492e00f5ebf27e80d37e5d7307bbac7acffd6875b4563484a62937fd53bf8b07')
})
test('a Pare folder of version 4 is read, with pruned weights on grids', () => {
  const { weights, close } = openLanguageModel(join(written(4), 'folder'))
  const hash = createHash('sha256')
  for (const name of [...weights.infos.keys()].sort())
    scope(() => hash.update(name).update(weights.load(name).bytes()))
  close()
  expect(hash.digest('hex')).toBe('a41240817cb31fbc5f38a3ad5263c999c657e821708a43199b0a14e3ffc9d69a')
})
test('a Pare folder of version 4 is read, with levels of columns and scales of other bits than weights', () => {
  const { weights, close } = openLanguageModel(join(written(4), 'levels'))
  const hash = createHash('sha256')
  for (const name of [...weights.infos.keys()].sort())
    scope(() => hash.update(name).update(weights.load(name).bytes()))
  close()
  // Of the values that were written, each decoded before.
  expect(hash.digest('hex')).toBe('3ddc4ae8f96f4ca1c195aa5fa0383644f318200d0e6ed754447877ca837ac934')
})
test('a Pare folder of version 5 is read, with rotated grids', () => {
  const { weights, close } = openLanguageModel(join(written(5), 'folder'))
  const hash = createHash('sha256')
  // In f16, since sums of another order differ in the last bits of f32.
  for (const name of [...weights.infos.keys()].sort())
    scope(() => hash.update(name).update(weights.load(name).cast('f16').bytes()))
  close()
  // Of a reader in Python, which makes the orthogonal maps by itself.
  expect(hash.digest('hex')).toBe('9bc3bbbffd7017badc82a76930b9d4c371cd091e7b61b596535c12d2ae3bbfa9')
})
test('a report without a version is one from before the first', () => {
  change('report.json', '"reportVersion": 1', '"more": 1')
  expect(readReport(folder).reportVersion).toBeUndefined()
})
test('fields that a later version added do not hinder', () => {
  change('report.json', '"reportVersion": 1', '"reportVersion": 1, "carbon": {"grams": 3}')
  expect(readReport(folder).method).toBe('gptq')
})

test('a newer journal is refused, with the version that this one reads', () => {
  change('journal.jsonl', '"version":1', '"version":2')
  const read = () => readJournal(join(folder, 'journal.jsonl'))
  expect(read).toThrow(StateError)
  expect(read).toThrow(newer(/version 2 of journals.*reads up to 1; go on with the newer Pare/))
})
test('a newer report is refused', () => {
  change('report.json', '"reportVersion": 1', '"reportVersion": 2')
  expect(() => readReport(folder)).toThrow(newer(/version 2 of reports.*use a newer Pare/))
})
test('a newer Pare folder is refused', () => {
  const path = join(folder, 'folder/pare.json')
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"version": ?1/, '"version": 6'))
  expect(() => openLanguageModel(join(folder, 'folder'))).toThrow(FormatError)
  expect(() => openLanguageModel(join(folder, 'folder'))).toThrow(
    newer(/version 6 of Pare folders.*use a newer Pare/),
  )
})
test('a newer recipe is refused', () => {
  expect(() => fromRecipe({ pare: (recipeVersion + 1) as never, source: 'm' })).toThrow(
    /version of the recipe, 1 for this Pare/,
  )
})
test.each([
  ['nothing', ''],
  ['no JSON', '{"source": '],
  ['a list', '[]'],
  ['a version that is none', '{"reportVersion": "1"}'],
  ['a version before the first', '{"reportVersion": 0}'],
  ['deep nesting', `{"a": ${'['.repeat(1e5)}`],
])('%s in place of a report is refused', (_, text) => {
  writeFileSync(join(folder, 'report.json'), text)
  expect(() => readReport(folder)).toThrow(
    expect.objectContaining({ code: 'PARE_E_REPORT', message: expect.stringMatching(/--restart/) }),
  )
})
test('no report, and a folder of that name, are refused', () => {
  rmSync(join(folder, 'report.json'))
  expect(() => readReport(folder)).toThrow(expect.objectContaining({ code: 'PARE_E_REPORT' }))
  cpSync(first, join(folder, 'report.json'), { recursive: true })
  expect(() => readReport(folder)).toThrow(expect.objectContaining({ code: 'PARE_E_REPORT' }))
})
