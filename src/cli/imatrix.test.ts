/** `pare imatrix`, and what `--imatrix` does to a file. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openGguf } from '../formats/gguf/container.ts'
import { meanSquares, readImatrix, writeImatrix } from '../formats/gguf/imatrix.ts'
import { compress } from '../run/compress.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import { measureImportance } from '../run/measure_importance.ts'
import { plan } from '../run/plan.ts'
import { pare } from './pare_process.suite.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-imatrix-'))
const [source, text, imatrix] = ['wide.gguf', 'text.txt', 'imatrix.gguf'].map((name) =>
  join(folder, name),
) as [string, string, string]
beforeAll(async () => {
  writeTinyGguf(source, { hidden: 256 })
  writeFileSync(text, 'the heron and the tern are in the inner tin. '.repeat(40))
  await measureImportance({ model: source, output: imatrix, calibration: [text], samples: 3, length: 32 })
})
afterAll(() => rmSync(folder, { recursive: true }))

let count = 0
const asked = (options: Partial<CompressOptions> = {}): CompressOptions => ({
  source,
  output: join(folder, `out-${++count}`),
  target: 'gguf',
  method: 'rtn',
  scheme: 'Q4_K',
  evaluate: false,
  probe: false,
  ...options,
})
const fileOf = (output: string): string =>
  join(output, readdirSync(output).find((name) => name.endsWith('.gguf'))!)

test('every linear weight has sums over all tokens, and weights with one input have the same', () => {
  const { entries, ...about } = readImatrix(imatrix)
  expect(about).toEqual({ datasets: ['text.txt'], chunks: 3, chunkSize: 32 })
  expect(entries.size).toBe(14)
  for (const { counts } of entries.values()) expect([...counts]).toEqual([96])
  const sums = (name: string) => entries.get(`blk.1.${name}.weight`)!.sums
  expect(sums('attn_q')).toEqual(sums('attn_v'))
  expect(sums('ffn_gate')).toEqual(sums('ffn_up'))
  expect(sums('attn_q')).not.toEqual(sums('ffn_up'))
  // What a norm puts out has a mean square near 1 where its weights are near 1.
  const means = meanSquares(entries.get('blk.0.attn_q.weight')!)
  expect(means.reduce((sum, x) => sum + x, 0) / means.length).toBeGreaterThan(0.1)
})
test('the command writes the same file, and none over another', () => {
  const output = join(folder, 'again.gguf')
  const args = ['imatrix', source, '--output', output, '--calib', text, '--samples', '3', '--length', '32']
  const { code, stdout } = pare([...args, '--json'])
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({ weights: 14, tokens: 96 })
  expect(readFileSync(output)).toEqual(readFileSync(imatrix))
  expect(pare(args).code).toBe(2)
})
test('weights are fitted to it, to other codes and scales of the same types', async () => {
  const [plain, weighted] = [asked(), asked({ imatrix })]
  await compress(plain)
  await compress(weighted)
  const [before, after] = [openGguf(fileOf(plain.output)), openGguf(fileOf(weighted.output))]
  for (const [name, { type, shape }] of after.tensors) {
    expect(before.tensors.get(name)).toMatchObject({ type, shape })
    if (type === 'Q4_K') expect(before.read(name), name).not.toEqual(after.read(name))
    else expect(before.read(name), name).toEqual(after.read(name))
  }
  for (const archive of [before, after]) archive.close()
})
test('a run goes on only with the same importance', async () => {
  const options = asked({ imatrix })
  await compress(options)
  const other = join(folder, 'other.gguf')
  const measured = readImatrix(imatrix)
  const entries = new Map(
    [...measured.entries].map(([name, { sums, counts }]) => [name, { sums: sums.map((x) => x + 1), counts }]),
  )
  writeImatrix(other, { ...measured, entries })
  await expect(compress({ ...options, imatrix: other })).rejects.toMatchObject({ code: 'PARE_E_RUN_DIFFERS' })
})
test('weights that are not in it are told', async () => {
  const few = join(folder, 'few.gguf')
  const measured = readImatrix(imatrix)
  writeImatrix(few, { ...measured, entries: new Map([...measured.entries].slice(0, 3)) })
  const { notes } = await plan(asked({ imatrix: few }))
  expect(notes.join()).toMatch(/imatrix: the inputs of 11 of 14 weights are not in it, such as model\.layers/)
})
test.each<[string, Partial<CompressOptions>, RegExp]>([
  ['another target', { target: 'pare' }, /--target pare has evenly spaced levels/],
  ['gptq', { method: 'gptq' }, /gptq measures the inputs itself; give --method rtn/],
  ['a target size', { limits: { targetBpw: 4 } }, /leave out the target size/],
])('%s has no use for it, and says so', async (_, options, message) => {
  const { scheme: __, ...given } = asked({ imatrix })
  await expect(plan({ ...given, ...options })).rejects.toThrow(message)
})
