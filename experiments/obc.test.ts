import { expect, test } from 'vitest'
import { gptq } from '#src/quantize/gptq.ts'
import { randomStream, tensor } from '#src/tensor/index.ts'
import { staleMark } from './experiment.ts'
import { drawFigure } from './figure.ts'
import { obc } from './obc.ts'
import { encoderMatrices, pairCosines, sentencesApart } from './obc_encoder.ts'
import { compareLogits, imageMatrices } from './obc_images.ts'
import { compressLayers, isCalibrated, rowGrid, withWeights } from './obc_methods.ts'
import { claims, distanceOf, figures, nameOf, page, part, resultTable, summarize } from './obc_page.ts'
import type { EncoderJob, ImageJob, ObcRun } from './obc_run.ts'

const stamp = { sources: 'abc', commit: 'c0ffee', machine: 'one machine' }
const encoder = (of: Partial<EncoderJob> & { meanCosine?: number; storedBits?: number }): ObcRun => ({
  ...{ network: 'MiniLM', matrices: 'of 384 inputs', level: '3 bits', method: 'obq', seed: 0, ...stamp },
  setup: { samples: 128, length: 80, sentences: 500 },
  ...{ storedBits: 3.05, size: 7e6, processorSeconds: 40 },
  ...{ meanCosine: 0.98, leastCosine: 0.9, rankCorrelation: 0.99 },
  ...of,
})
const images = (of: Partial<ImageJob> & { kl: number }): ObcRun => ({
  ...{ network: 'EfficientNet-Lite0', matrices: 'of all convolutions', level: '50% zeros', ...stamp },
  ...{ method: 'obs', seed: 0, setup: { crops: 128, tests: 1000, size: 224 } },
  ...{ storedBits: 9, size: 3e6, processorSeconds: 40, top1: 0.5 },
  ...of,
})
const result = (runs: ObcRun[]) => ({
  ...{ experiment: 'obc', commit: '0123456789ab', command: 'pare reproduce', sources: 'abc', seeds: [0] },
  ...{ machines: ['one machine'], runs },
})

test('what draws no samples runs once, all else for every seed, and costly rows for the first', () => {
  const jobs = obc.jobs({ quick: false, seeds: [0, 1, 2] })
  const names = jobs.map((job) => `${nameOf(job)} ${job.seed}`)
  expect(new Set(names).size).toBe(jobs.length)
  for (const job of jobs)
    if (job.network === 'SmolLM2' || job.matrices === 'all' || !isCalibrated(job.method))
      expect(job.seed).toBe(0)
  const seeds = (method: string, level: string) =>
    jobs
      .filter((job) => job.matrices === 'of 384 inputs' && job.method === method && job.level === level)
      .map(({ seed }) => seed)
  expect([seeds('obq', '3 bits'), seeds('rtn', '3 bits'), seeds('stitched', '3 bits')]).toEqual([
    [0, 1, 2],
    [0],
    [0],
  ])
  expect(obc.jobs({ quick: false, seeds: [0], only: ['SmolLM2'] })).toHaveLength(6)
  expect(() => obc.jobs({ quick: false, seeds: [0], only: ['nowhere'] })).toThrow(/stands in the name/)
  expect(obc.jobs({ quick: false, seeds: [] })).toEqual([])
})
test('the weights of 384 inputs are all but those behind the activation', () => {
  const names = ['attention.self.query', 'attention.output.dense', 'intermediate.dense', 'output.dense']
  const isNarrow = encoderMatrices['of 384 inputs']
  expect(names.map((name) => isNarrow(`encoder.layer.3.${name}.weight`))).toEqual([true, true, true, false])
  const isEarly = imageMatrices['of blocks 0 to 3']
  expect(
    ['_conv_stem.weight', '_blocks.3._expand_conv.weight', '_blocks.13._expand_conv.weight'].map(isEarly),
  ).toEqual([false, true, false])
})
test('tested sentences are different, evenly spaced, of 8 words or more, and in no calibration text', () => {
  const sentence = (i: number) => `Number ${i} is a sentence of just nine words.`
  const text = [...Array(30).keys()].map(sentence).join(' ')
  const { sentences, others } = sentencesApart(`Too short. ${text}\n\n${sentence(0)}`, 3)
  expect(sentences).toEqual([0, 10, 20].map(sentence))
  for (const tested of sentences) expect(others).not.toContain(tested)
  expect(others).toContain('Too short.')
  expect(others.split('. ')).toHaveLength(1 + 27)
  expect(() => sentencesApart(text, 31)).toThrow(/fewer than 31/)
})
test('pairs are those of all vectors, by their angle', () => {
  const pairs = pairCosines([Float32Array.of(2, 0), Float32Array.of(0, 3), Float32Array.of(1, 1)])
  expect([...pairs].map((x) => x.toFixed(6))).toEqual(['0.000000', '0.707107', '0.707107'])
})
test('logits of the floats are at distance 0, and a class that changed counts against agreement', () => {
  const floats = [Float32Array.of(1, 0, 0, 3), Float32Array.of(2, 1)]
  expect(compareLogits(floats, floats, 2)).toEqual({ top1: 1, kl: 0 })
  const { top1, kl } = compareLogits([Float32Array.of(0, 1, 0, 3), Float32Array.of(2, 1)], floats, 2)
  expect(top1).toBeCloseTo(2 / 3, 12)
  // (p - q) log(p / q) of two classes: 1 nat times the difference of the chances.
  const chance = 1 / (1 + Math.exp(-1))
  expect(kl).toBeCloseTo((2 * chance - 1) / 3, 6)
})
test('methods at one level take the same bits, and each layer is compressed on its own groups', () => {
  const stream = randomStream(0, 'layers')
  const x = stream.normal([200, 24], 'f64')
  const gram = x.transpose().matmul(x)
  const one = {
    name: 'one',
    weight: stream.normal([8, 24]),
    groups: [{ gram, rows: 200 }],
    samples: 1,
    uses: 1,
  }
  const own = { gram: gram.slice(0, 0, 9).slice(1, 0, 9).contiguous(), rows: 200 }
  const two = { ...one, name: 'two', weight: stream.normal([4, 9]), groups: [own, own, own, own] }
  const bits = (method: Parameters<typeof compressLayers>[1], level: Parameters<typeof compressLayers>[2]) =>
    compressLayers([one, two], method, level).bits
  for (const level of ['4 bits', '3 bits'] as const)
    expect(new Set((['rtn', 'gptq', 'obq'] as const).map((method) => bits(method, level))).size).toBe(1)
  expect(
    new Set((['magnitude', 'sparsegpt', 'obs'] as const).map((method) => bits(method, '50% zeros'))).size,
  ).toBe(1)
  // 4 of the 9 taps of a channel go: 4 rows of a mask of 2 bytes and 5 numbers; half of 192, and 3 bytes of mask a row.
  expect(bits('obs', '50% zeros')).toBe(4 * (16 + 5 * 16) + 96 * 16 + 8 * 24)
  const alone = gptq({ damping: 0.01, actOrder: true, staticGroups: true }).compress({
    ...{ name: 'one', dense: one.weight, current: one.weight, statistics: one.groups[0]!, grid: rowGrid(3) },
  })
  const { weights } = compressLayers([one, two], 'gptq', '3 bits')
  expect(Array.from(weights.get('one')!.toArray(), Number)).toEqual(
    Array.from(alone.source.dense().toArray(), Number),
  )
})
test('a store with other weights hands out those, and all else as it was', () => {
  const [a, b] = [tensor([1, 2], [1, 2]), tensor([3], [1])]
  const store = {
    ...{ infos: new Map(), fileBytes: 0, rows: () => b, slice: () => b, close: () => {} },
    load: () => b,
    stored: () => undefined,
  }
  const changed = withWeights(store, new Map([['x', a]]))
  expect([changed.load('x'), changed.load('y')]).toEqual([a, b])
  // Codes of the source would not be those of the exchanged weight.
  expect(changed.stored).toBeUndefined()
})
test('a claim holds only where every seed is nearer, and rows without samples stand for all seeds', () => {
  const runs = [
    encoder({ meanCosine: 0.98 }),
    encoder({ meanCosine: 0.97, seed: 1 }),
    encoder({ method: 'gptq', meanCosine: 0.975 }),
    encoder({ method: 'gptq', meanCosine: 0.975, seed: 1 }),
    encoder({ method: 'rtn', meanCosine: 0.9 }),
    images({ kl: 1 }),
    images({ kl: 2, method: 'sparsegpt', seed: 1 }),
  ]
  const found = claims(runs)
  expect(found.map(({ holds }) => holds)).toEqual([true, false, undefined, true])
  expect(found[0]!.found).toMatch(
    /^1 - cosine 25.00e-3 against .*100.00e-3, by 75.00 ± 7.07 thousandths over 2 seeds$/,
  )
  expect(found[2]!.found).toBe('no seed that both have')
  expect(claims([encoder({}), encoder({ method: 'gptq', storedBits: 3.07 })]).at(-1)!.holds).toBe(false)
  expect(claims([]).map(({ holds }) => holds)).toEqual([undefined])
})
test('a quick run fails where a method is no nearer than its baseline, or one of them is missing', () => {
  const context = { assets: undefined, quick: true, record: undefined, sources: '', say: () => {} }
  const failures = (runs: ObcRun[]) => obc.failures(result(runs), context)
  const good = [
    encoder({}),
    encoder({ method: 'rtn', meanCosine: 0.9 }),
    encoder({ method: 'obs', level: '50% zeros', meanCosine: 0.99 }),
    encoder({ method: 'magnitude', level: '50% zeros', meanCosine: 0.98 }),
  ]
  expect(failures(good)).toEqual([])
  expect(failures(good.slice(0, 3))[0]).toMatch(/no run of obs has one of magnitude/)
  expect(failures([encoder({ meanCosine: 0.8 }), ...good.slice(1)])[0]).toMatch(/must be nearer/)
})
test('page, tables and figures show every row, what was stitched, and that sources changed', async () => {
  const stitched = { ...encoder({ method: 'stitched' }), profile: { '2 bits': 3, '8 bits': 1 } } as ObcRun
  const runs = [
    encoder({}),
    encoder({ seed: 1, meanCosine: 0.982 }),
    encoder({ method: 'rtn' }),
    stitched,
    images({ kl: 1 }),
  ]
  expect(summarize(runs).map(({ distance }) => distance.seeds)).toEqual([2, 1, 1, 1])
  expect(distanceOf(runs[0]!)).toBeCloseTo(0.02, 12)
  const lines = resultTable(runs.slice(0, 4)).split('\n')
  expect(lines).toHaveLength(5)
  expect(new Set(lines.map((line) => line.split('|').length)).size).toBe(1)
  const text = page(result(runs), false)
  expect(text).toContain('2 bits for 3; 8 bits for 1 of the 4 layers')
  expect(text).toContain('SmolLM2: not run.')
  expect(text).not.toContain(staleMark)
  expect(page(result(runs), true)).toContain(staleMark)
  expect(part(runs)).toContain('EfficientNet-Lite0')
  const specs = figures(runs)
  expect([...specs.keys()]).toEqual(['obc.svg', 'obc_images.svg'])
  const svg = await drawFigure(specs.get('obc.svg')!)
  const [, symbols] = /<g class="mark-symbol role-mark"[^>]*>(.*?)<\/g>/s.exec(svg)!
  expect(symbols!.match(/<path/g)).toHaveLength(3)
  expect(svg).not.toMatch(/NaN|undefined/)
})
