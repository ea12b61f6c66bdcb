/** What must hold of every method before its numbers mean anything. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { defaultEvaluationText } from '#src/calibrate/text_samples.ts'
import { openSafetensors } from '#src/formats/safetensors/safetensors.ts'
import { type CompressionReport, compress, evaluate } from '../src/index.ts'
import { languageMetrics } from '../src/metrics/language.ts'
import { tokenLogits } from '../src/metrics/token_logits.ts'
import { cutWindows } from '../src/metrics/windows.ts'
import { openLanguageModel } from '../src/models/load_model.ts'
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
const run = async (steps: readonly WeightStep[]) => {
  const output = join(folder, String(count++))
  const quiet = { sideBySide: false, baselines: false, verify: false, probe: false }
  const report = await compress({
    source: model,
    output,
    target: 'pare',
    steps,
    ...small,
    ...quiet,
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
type Steps = (typeof methods)[number]['steps']
const kept = new Map<Steps, ReturnType<typeof run>>()
/** Of 3 bits, which several tests look at: run once. */
function atThree(steps: Steps): ReturnType<typeof run> {
  const found = kept.get(steps) ?? run(quickly(steps(3)))
  kept.set(steps, found)
  return found
}
const all = methods.map(({ steps }) => [methodsOf(steps(4)), steps] as const)
/** Of a report: all but times, memory and where it lies. */
const repeatable = ({
  output,
  command,
  seconds,
  peakMemoryBytes,
  timeline,
  memory,
  ...rest
}: CompressionReport) => rest

test('perplexity is the same whatever the batch, and that of a loop over three windows by hand', async () => {
  const open = openLanguageModel(model)
  const ids = open.tokenizer().encode(readFileSync(defaultEvaluationText(), 'utf8').slice(0, 4000))
  const windows = cutWindows(Uint32Array.from(ids), { context: 100, count: 3 })
  const perplexityOf = async (batchTokens: number) =>
    (await languageMetrics({ model: open.model, windows, split: { batchTokens } })).perplexity
  const whole = await perplexityOf(300)
  for (const batchTokens of [1, 100, 200, 1e6]) expect(await perplexityOf(batchTokens)).toBe(whole)
  let loss = 0
  for (const window of windows.windows) {
    const logits = await tokenLogits(open.model, window)
    const vocabulary = logits.length / window.length
    for (let at = 0; at + 1 < window.length; at++) {
      const row = logits.subarray(at * vocabulary, (at + 1) * vocabulary)
      loss += Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[window[at + 1]!]!
    }
  }
  open.close()
  expect(windows.windows.map(({ length }) => length)).toEqual([100, 100, 100])
  expect(Math.abs(whole / Math.exp(loss / 297) - 1)).toBeLessThan(1e-6)
})
test('a model against itself has a KL of 0, agrees everywhere, and has the perplexity of its source', async () => {
  const found = await evaluate({ model, against: model, ...text })
  expect([found.kl, found.top1]).toEqual([0, 1])
  expect(found.perplexity).toBe(found.perplexitySource)
})

test.each(all)(
  '%s: stored bits are those of the bytes in the file, and a run again gives the same',
  async (_, steps) => {
    const [{ report, output }, again] = [await atThree(steps), await run(quickly(steps(3)))]
    const archive = openSafetensors(output)
    const linear = [...archive.tensors.values()].filter(({ name }) => /\.(self_attn|mlp)\./.test(name))
    const bytes = linear.reduce((sum, tensor) => sum + tensor.bytes, 0)
    archive.close()
    // Six blocks of four matrices of 256 x 256 and three of 256 x 512.
    const weights = 6 * (4 * 256 * 256 + 3 * 256 * 512)
    expect(report.bitsPerWeight).toBeCloseTo((8 * bytes) / weights, 9)
    expect(report.bytes).toBe(statSync(join(output, 'model.safetensors')).size)
    expect(repeatable(again.report)).toEqual(repeatable(report))
    expect(readFileSync(join(again.output, 'model.safetensors'))).toEqual(
      readFileSync(join(output, 'model.safetensors')),
    )
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

/** What 8 bits take beside the number of bits. */
const atEight: Readonly<Record<string, Partial<WeightStep>>> = {
  // The levels of QuIP end at 2.4 root mean squares, and what lies beyond is cut off; its page says 4 here.
  quip: { bits: 8, rho: 4 },
  aqlm: { books: 4, bookBits: 8, tileColumns: 4 },
}
test.each(all)(
  '%s: at 8 bits the perplexity is that of the floats within 0.5 percent, and loss grows from 4 bits to 3 and to 2',
  async (name, steps) => {
    const eight = quickly(steps(4)).map((step) => ({
      ...step,
      ...(step.bits === undefined ? {} : { bits: 8 }),
      ...atEight[step.method!],
    }))
    const { report } = await run(eight)
    expect(Math.abs(report.perplexity! / report.perplexitySource! - 1)).toBeLessThan(0.005)
    const losses = []
    for (const bits of [4, 3, 2] as const)
      losses.push((await (bits === 3 ? atThree(steps) : run(quickly(steps(bits))))).report.kl!)
    expect(losses, name).toEqual(losses.toSorted((a, b) => a - b))
    expect(report.kl!).toBeLessThan(losses[0]!)
  },
)
