/** What must hold of every method before its numbers mean anything. */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openSafetensors } from '#src/formats/safetensors/safetensors.ts'
import { compress, evaluate } from '../src/index.ts'
import type { WeightStep } from '../src/run/weight_step.ts'
import { modelsFolder } from './models/zoo.ts'
import { methodsOf } from './one_shot_page.ts'
import { methods } from './ptq_benchmark.ts'

const model = join(modelsFolder, 'pare-4m')
const folder = mkdtempSync(join(tmpdir(), 'pare-ptq-'))
afterAll(() => rmSync(folder, { recursive: true }))

const small = { samples: 8, length: 128, context: 128, windows: 3, every: 40 }
const text = { context: small.context, windows: small.windows, every: small.every }
let count = 0
const run = async (steps: readonly WeightStep[], options: { seed?: number } = {}) => {
  const output = join(folder, String(count++))
  const quiet = { sideBySide: false, baselines: false, verify: false, probe: false }
  const report = await compress({
    source: model,
    output,
    target: 'pare',
    steps,
    ...small,
    ...quiet,
    ...options,
  })
  return { report, output }
}
/** With few rounds: what is checked here does not depend on how well they did. */
const fewer: Readonly<Record<string, Partial<WeightStep>>> = {
  aqlm: { rounds: 0, kMeansRounds: 5 },
  awq: { clip: false },
  omniquant: { epochs: 1, batch: 4 },
}
const quickly = (steps: readonly WeightStep[]): readonly WeightStep[] =>
  steps.map((step) => ({ ...step, ...fewer[step.method!] }))
/** Behind transforms the quantiser that is fastest stands for all. */
const all = methods
  .map(({ steps }) => [methodsOf(steps(4)), steps] as const)
  .filter(([name]) => !name.endsWith('+ gptq'))

test('a model against itself has a KL of 0, agrees everywhere, and has the perplexity of its source', async () => {
  const found = await evaluate({ model, against: model, ...text })
  expect([found.kl, found.top1]).toEqual([0, 1])
  expect(found.perplexity).toBe(found.perplexitySource)
})

test.each(all)(
  '%s: stored bits are those of the bytes in the file, and a run again gives the same',
  async (_, steps) => {
    const [first, again] = [
      await run(quickly(steps(3)), { seed: 1 }),
      await run(quickly(steps(3)), { seed: 1 }),
    ]
    const { report, output } = first
    const archive = openSafetensors(output)
    const linear = [...archive.tensors.values()].filter(({ name }) => /\.(self_attn|mlp)\./.test(name))
    const bytes = linear.reduce((sum, tensor) => sum + tensor.bytes, 0)
    archive.close()
    // Six blocks of four matrices of 256 x 256 and three of 256 x 512.
    const weights = 6 * (4 * 256 * 256 + 3 * 256 * 512)
    expect(report.bitsPerWeight).toBeCloseTo((8 * bytes) / weights, 9)
    expect(report.bytes).toBe(statSync(join(output, 'model.safetensors')).size)
    const { kl, perplexity, top1, layers, bitsPerWeight } = again.report
    expect({ kl, perplexity, top1, layers, bitsPerWeight }).toEqual({
      ...{ kl: report.kl, perplexity: report.perplexity, top1: report.top1 },
      ...{ layers: report.layers, bitsPerWeight: report.bitsPerWeight },
    })
  },
)

test('groups that do not divide the rows are refused, or counted as what they store', async () => {
  await expect(run([{ method: 'spqr', bits: 3, groupSize: 48 }])).rejects.toThrow(/48/)
  const [whole, ragged] = [
    await run([{ method: 'rtn', bits: 3, groupSize: 64 }]),
    await run([{ method: 'rtn', bits: 3, groupSize: 60 }]),
  ]
  expect(ragged.report.bitsPerWeight).toBeGreaterThan(whole.report.bitsPerWeight)
})

// AQLM has no codes of 8 bits a weight that would fit beside a matrix of 256 columns.
test.each(all.filter(([name]) => name !== 'aqlm'))(
  '%s: at 8 bits the perplexity is that of the floats within 0.5 percent, and loss grows from 4 bits to 3 and to 2',
  async (name, steps) => {
    const eight = quickly(steps(4)).map((step) => (step.bits === undefined ? step : { ...step, bits: 8 }))
    const { report } = await run(eight)
    // The levels of QuIP end at 2.4 root mean squares at every width, and what lies beyond is cut off.
    const most = name === 'quip' ? 0.02 : 0.005
    expect(Math.abs(report.perplexity! / report.perplexitySource! - 1)).toBeLessThan(most)
    const losses = []
    for (const bits of [4, 3, 2] as const) losses.push((await run(quickly(steps(bits)))).report.kl!)
    expect(losses, name).toEqual(losses.toSorted((a, b) => a - b))
    expect(report.kl!).toBeLessThan(losses[0]!)
  },
)
