import { expect, test } from 'vitest'
import { encoderOnnx } from './encoder_onnx.ts'
import { type EncoderJob, type EncoderRun, wordsApart } from './encoder_onnx_measure.ts'
import { claims, nameOf, resultFigure, resultPage, resultTable, summarize } from './encoder_onnx_page.ts'
import { staleMark } from './experiment.ts'
import { drawFigure } from './figure.ts'

const four: Omit<EncoderJob, 'seed'> = {
  method: 'gptq',
  bits: 4,
  symmetric: false,
  calibration: 'other speeches',
  setup: { block: 32, passages: 48, samples: 256, length: 80 },
}
const run = (of: Partial<EncoderRun>): EncoderRun => ({
  ...four,
  ...{ seed: 0, sources: 'abc', commit: 'c0ffee', machine: 'one machine' },
  ...{ meanCosine: 0.992, leastCosine: 0.98, storedBits: 5.125, bytes: 54.6e6, seconds: 40 },
  ...of,
})
const nearest = (of: Partial<EncoderRun>): EncoderRun => {
  const { calibration: _, ...rest } = run({ method: 'rtn', ...of })
  return rest
}
const result = (runs: EncoderRun[]) => ({
  ...{ experiment: 'encoder_onnx', commit: '0123456789ab', command: 'pare reproduce', sources: 'abc' },
  runs,
})

test('calibration text has no word of a passage, nor 100 words around it', () => {
  const all = Array.from({ length: 2000 }, (_, i) => String(i))
  // Passages of 60 words begin with the words 0 and 1000.
  const kept = wordsApart(all, 2).map(Number)
  const expected = [...Array(740).keys()].map((i) => i + 160)
  expect(kept).toEqual([...expected, ...Array.from({ length: 840 }, (_, i) => i + 1160)])
})
test('what draws samples runs for every seed, round to nearest once', () => {
  const jobs = encoderOnnx.jobs({ quick: false, seeds: [0, 1, 2] })
  expect(jobs.filter(({ method }) => method === 'rtn').map(({ seed }) => seed)).toEqual([0, 0, 0])
  expect(jobs.filter(({ method }) => method === 'gptq')).toHaveLength(9)
  expect(new Set(jobs.map(encoderOnnx.describe)).size).toBe(12)
  expect(encoderOnnx.jobs({ quick: true, seeds: [0] }).map(nameOf)).toEqual([
    'rtn 8 bits, with zeros',
    'rtn 4 bits, with zeros',
    'gptq 4 bits, with zeros, other speeches',
  ])
  expect(encoderOnnx.jobs({ quick: false, seeds: [0], only: ['shipped'] })).toHaveLength(1)
  expect(() => encoderOnnx.jobs({ quick: false, seeds: [0], only: ['nowhere'] })).toThrow(
    /stands in the name/,
  )
})
test('a row is the mean over seeds with its spread, and the least passage of all', () => {
  const [row] = summarize([
    run({ meanCosine: 0.99 }),
    run({ meanCosine: 0.992, seed: 1, leastCosine: 0.97 }),
    run({ meanCosine: 0.994, seed: 2 }),
  ])
  expect(row!.meanCosine.mean).toBeCloseTo(0.992, 12)
  expect(row!.meanCosine.spread).toBeCloseTo(0.002, 12)
  expect(row!.leastCosine).toBe(0.97)
})
test('a claim holds only where every seed reaches it, and is open where its runs are missing', () => {
  const holds = (runs: EncoderRun[]) => claims(runs).map(({ holds }) => holds)
  const eight = { bits: 8, meanCosine: 0.9995 } as const
  expect(holds([nearest(eight), run({}), run({ seed: 1, meanCosine: 0.99 })])).toEqual([
    true,
    true,
    undefined,
    undefined,
  ])
  const worse = [nearest({ ...eight, meanCosine: 0.9993 }), run({}), run({ seed: 1, meanCosine: 0.9899 })]
  expect(holds([...worse, run({ symmetric: true, meanCosine: 0.98 })])).toEqual([
    false,
    false,
    false,
    undefined,
  ])
})
test('a quick run fails where GPTQ is no nearer than round to nearest, or 8 bits than 4', () => {
  const context = { assets: undefined, quick: true, record: undefined, sources: '', say: () => {} }
  const failures = (runs: EncoderRun[]) => encoderOnnx.failures(result(runs), context)
  const [eight, low] = [nearest({ bits: 8, meanCosine: 0.9999 }), nearest({ meanCosine: 0.97 })]
  expect(failures([eight, low, run({})])).toEqual([])
  expect(failures([eight, nearest({ meanCosine: 0.993 }), run({})])).toHaveLength(1)
  expect(failures([nearest({ bits: 8, meanCosine: 0.99 }), low, run({})])[0]).toMatch(
    /rtn 8 bits.* must be nearer/,
  )
})
test('page, table and figure show every row, and that sources changed', async () => {
  const runs = [nearest({ bits: 8, storedBits: 9.25, meanCosine: 0.9999 }), run({}), run({ seed: 1 })]
  const lines = resultTable(runs).split('\n')
  expect(lines).toHaveLength(4)
  expect(new Set(lines.map((line) => line.split('|').length)).size).toBe(1)
  expect(resultPage(result(runs), false)).not.toContain(staleMark)
  expect(resultPage(result(runs), true)).toContain(staleMark)
  const svg = await drawFigure(resultFigure(runs))
  const [, symbols] = /<g class="mark-symbol role-mark"[^>]*>(.*?)<\/g>/s.exec(svg)!
  expect(symbols!.match(/<path/g)).toHaveLength(2)
  expect(svg).not.toMatch(/NaN|undefined/)
})
