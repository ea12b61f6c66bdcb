import { expect, test } from 'vitest'
import type { Baseline, CompressionReport } from '../run/report.ts'
import { wholeReport } from '../run/report_page/report.suite.ts'
import { reportText } from './compress.ts'

const report = (baselines: readonly Baseline[], bytes = 60e6): CompressionReport => ({
  source: 's',
  output: 'o',
  method: 'gptq',
  target: 'pare',
  bytes,
  bytesSource: 90e6,
  bitsPerWeight: 4,
  fileBitsPerWeight: 4.5,
  perplexity: 12,
  perplexitySource: 10,
  kl: 0.25,
  klStandardError: 0.01,
  top1: 0.8,
  tokens: 100,
  protocol: '64/nonoverlap',
  seconds: 2,
  peakMemoryBytes: 1e8,
  layers: [],
  files: ['report.json'],
  notes: [],
  version: '0.1.0',
  baselines,
})
const lines = (each: CompressionReport) => reportText(each).split('\n')

test('a baseline has a line, with its size and how far it is from the source', () => {
  expect(lines(report([{ name: 'round to nearest', bytes: 61e6, kl: 0.5 }]))).toContain(
    'baseline    round to nearest: 61.0 MB, KL 0.5000',
  )
})
test('speed is one line, with what brings none, and no line where it was not measured', () => {
  const { speed } = wholeReport()
  const line = (each: CompressionReport['speed']) =>
    lines({ ...report([]), ...(each ? { speed: each } : {}) }).filter((text) => text.startsWith('speed'))
  expect(line(speed)).toEqual([
    'speed       written 20.0 -> 40.0 tokens/s, read 400 -> 500; 400.0 MB -> 50.0 MB of weights a token (packed int8)',
  ])
  expect(line({ ...speed!, pruned: true })).toEqual([
    expect.stringMatching(/\(packed int8\)\. No speed from zeros on this device: .*\.$/),
  ])
  expect(line(undefined)).toEqual([])
})
test('the last line says where a baseline is closer to the source', () => {
  const name = 'uniform mix: 4 bits'
  const last = (kl: number) => lines(report([{ name, bytes: 60e6, kl }])).at(-1)
  expect(last(0.2)).toBe(
    'The baseline is closer to the source (uniform mix: 4 bits): KL 0.2000 against 0.2500.',
  )
  expect(last(0.3)).toBe('output      o: report.json')
  // Also where the result is larger than its source.
  expect(lines(report([{ name, bytes: 99e6, kl: 0.2 }], 99e6)).at(-1)).toMatch(/^The baseline is closer/)
})
