/** Plans and reports of steps that have a method in common. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { compress } from '../run/compress.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import { plan } from '../run/plan.ts'
import { planText } from './terminal.ts'
import { writeTinyGguf } from './tiny_model.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-repeated-'))
let source = ''
beforeAll(() => {
  source = writeTinyGguf(join(folder, 'tiny.gguf'))
})
const planned = (options: Partial<CompressOptions>) => plan({ source, probe: false, ...options })
const doubled = /\b(\w+), \1\b/

test('a step of which nothing is said is told by its method alone, and another with its options', async () => {
  const text = planText(
    await planned({ steps: [{ method: 'sparsegpt', sparsity: 0.3 }, { method: 'sparsegpt' }] }),
  )
  expect(text).toContain('step 1  sparsegpt, sparsity 0.3: takes 14 weights\n  step 2  sparsegpt: takes 14')
  expect(text).not.toMatch(doubled)
})
test('a pattern tells what it asks for once', async () => {
  const { rules } = await planned({ steps: [{ method: 'wanda', only: ['**'] }] })
  expect(rules).toMatchObject([{ asks: 'wanda' }])
})
test('each transform is told with the weights that it changes itself', async () => {
  const { steps } = await planned({
    steps: [{ method: 'awq' }, { method: 'smoothquant' }, { method: 'rtn' }],
  })
  expect(steps.map(({ method, weights }) => [method, weights])).toEqual([
    ['awq', 14],
    ['smoothquant', 10],
    ['rtn', 14],
  ])
})
test('a plan without a time names every method that it has none for, each once', async () => {
  const steps = [
    { method: 'hadamard' },
    { method: 'wanda' },
    { method: 'wanda' },
    { method: 'gptq' },
  ] as const
  expect((await planned({ steps })).secondsMissing).toBe('not known for hadamard, wanda')
})
test('a refusal names a method that repeats once', async () => {
  const steps = [{ method: 'wanda' }, { method: 'wanda' }] as const
  await expect(planned({ steps, limits: { targetBpw: 4 } })).rejects.toThrow(/and wanda stores more than/)
})
test('what steps of one method remark alike is said once, and counts each weight once', async () => {
  const { layers, notes } = await compress({
    source,
    output: join(folder, 'result'),
    steps: [{ method: 'sparsegpt' }, { method: 'sparsegpt' }, { method: 'rtn' }],
    ...{ samples: 1, length: 16, evaluate: false, verify: false, probe: false },
  })
  for (const layer of layers) expect(new Set(layer.notes).size).toBe(layer.notes.length)
  expect(notes.filter((note) => note.includes('sparsegpt'))).toEqual([
    expect.stringMatching(/^14 weights: sparsegpt: only 16 tokens for \d+ inputs/),
  ])
})
