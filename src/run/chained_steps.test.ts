import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { loadCompressible } from '../models/load_model.ts'
import { compress } from './compress.ts'
import { verify } from './verify/verify.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
afterAll(() => rmSync(folder, { recursive: true }))
const source = 'interop/fixtures/llama-f16.gguf'
const steps = [
  { method: 'gptq', bits: 2, groupSize: 16 },
  { method: 'eora', rank: 4 },
] as const
const quick = { evaluate: false, samples: 4, length: 32, probe: false } as const

test('a chain of steps is one stored tree, with its bits, and is read back as it was computed', async () => {
  const output = join(folder, 'out')
  const report = await compress({ source, output, steps: [...steps], ...quick })
  const { weights } = JSON.parse(readFileSync(join(output, 'pare.json'), 'utf8'))
  const [name, form] = Object.entries(weights)[0] as [string, { kind: string; terms: { kind: string }[] }]
  expect(form).toMatchObject({ kind: 'sum', terms: [{ kind: 'grid', bits: 2 }, { kind: 'product' }] })
  const layer = report.layers.find((each) => each.name === name)!
  expect(layer.form).toEqual(form)
  expect(layer.relativeErrorRtn).toBeUndefined()
  expect(report.method).toBe('gptq+eora')
  const opened = await loadCompressible(output)
  try {
    const stored = opened.weights.infos.get(name)!
    expect(layer.bits).toBe((stored.bytes * 8) / (stored.shape[0]! * stored.shape[1]!))
    expect(report.bytes).toBe(opened.weights.fileBytes)
  } finally {
    opened.close()
  }
  expect(await verify({ path: output, source })).toMatchObject({ passed: true })
})

test('eora behind gptq loses less of every output than gptq alone', async () => {
  const alone = await compress({ source, output: join(folder, 'a'), steps: [steps[0]], ...quick })
  const both = await compress({
    source,
    output: join(folder, 'b'),
    steps: [...steps],
    ...quick,
    trueSequential: true,
  })
  for (const [i, layer] of both.layers.entries())
    expect(layer.relativeError).toBeLessThan(alone.layers[i]!.relativeError)
})

test('codes of more bits than an earlier step rounded to pass, though they are farther from the source than rounding is', async () => {
  const output = join(folder, 'coarse')
  const coarse = { method: 'quip', bits: 2 } as const
  const fine = { method: 'rtn', bits: 8, groupSize: 16 } as const
  await compress({ source, output, steps: [coarse, fine], ...quick })
  const { passed, checks } = await verify({ path: output, source })
  expect(passed).toBe(true)
  expect(checks.find(({ name }) => name === 'logits')).toMatchObject({
    status: 'unbounded',
    text: expect.stringContaining('changed by their method'),
  })
})
