import { expect, test } from 'vitest'
import type { CompressionReport } from '../report.ts'
import type { ModelSpeed, SpeedReport } from '../speed_report.ts'
import { wholeReport } from './report.suite.ts'
import { speedRows, speedSection } from './speed_section.ts'

const model = (extra: Partial<ModelSpeed> = {}): ModelSpeed => ({
  ...{ prefill: 200, decode: 40, least: { prefill: 160, decode: 32.5 } },
  ...{ form: 'f32', packed: 0, headPacked: false, weightBytes: 50_000_000, contextBytes: 8000 },
  ...extra,
})
const packed: Partial<ModelSpeed> = {
  ...{ prefill: 300, decode: 100, least: { prefill: 297, decode: 99.96 } },
  ...{ form: 'packed int8', packed: 1, headPacked: true, weightBytes: 12_500_000, contextBytes: 8000 },
}
const speed = (result: Partial<ModelSpeed>, extra: Partial<SpeedReport> = {}): SpeedReport => ({
  ...{ machine: 'a machine', prompt: 128, written: 32, rounds: 3 },
  ...{ source: model(), result: model(result) },
  ...extra,
})
const page = (extra: Partial<CompressionReport>) => String(speedSection({ ...wholeReport(), ...extra }))

test('rows tell both models and what the result has of the source, rates with the least and the most', () => {
  expect(speedRows(speed(packed))).toEqual([
    ['weights in memory', 'f32', 'packed int8', ''],
    ['reading 128 tokens, tokens/s', '200 (160 to 200)', '300 (297 to 300)', '1.50'],
    ['writing, tokens/s', '40.0 (32.5 to 40.0)', '100 (100 to 100)', '2.50'],
    ['weights that a token reads', '50.0 MB', '12.5 MB', '0.25'],
    ['keys and values, for each token before', '8.0 kB', '8.0 kB', '1.00'],
  ])
})
test('a rate that is none has a dash, and so has its ratio', () => {
  const [, reading, writing] = speedRows(
    speed({ prefill: Number.NaN, decode: 20, least: undefined as never }, { source: model({ decode: 0 }) }),
  )
  expect(reading).toEqual(['reading 128 tokens, tokens/s', '200 (160 to 200)', '– (– to –)', '–'])
  // There is no ratio to nothing.
  expect(writing).toEqual(['writing, tokens/s', '0.0 (32.5 to 0.0)', '20.0 (– to 20.0)', '–'])
})
test('the section has the table, how it was measured, and nothing else for a faster result', () => {
  const text = page({ speed: speed(packed) })
  expect(text).toContain('<h2 id="speed-heading">Speed</h2>')
  expect(text.match(/<tr/g)).toHaveLength(6)
  expect(text).toContain('2.50')
  expect(text).toContain('On a machine: other machines, programs and moments have other rates.')
  expect(text).not.toContain('class="lead"')
  expect(text).not.toContain('class="missing"')
})
test('what brings no speed stands in front of the table, a paragraph for each finding', () => {
  const text = page({ speed: speed({ form: 'mixed', packed: 0.75 }) })
  const leads = [...text.matchAll(/<p class="lead">([^<]*)<\/p>/g)].map(([, sentence]) => sentence)
  expect(leads).toEqual([
    'No speed on this device from 25% of the linear weights, which are decoded to floats in memory.',
    'Writing did not become faster: 40.0 tokens/s before, 40.0 after.',
  ])
  expect(text.lastIndexOf('class="lead"')).toBeLessThan(text.indexOf('<table'))
})
test('names of machines and forms from a file are text on the page, and have an end', () => {
  const form = `<b>${'x'.repeat(200)}` as ModelSpeed['form']
  const text = page({ speed: speed({ ...packed, form }, { machine: '<script>1</script>' }) })
  expect(text).not.toMatch(/<script>|<b>/)
  expect(text).toContain('&lt;script&gt;')
  expect(speedRows(speed({ form }))[0]![2]).toHaveLength(81)
})
test('without speed the section says how to get it, and that text encoders have none', () => {
  const { speed: _, ...report } = wholeReport()
  const missing = String(speedSection({ ...report, family: 'llama' }))
  expect(missing).toContain('<p class="missing">')
  expect(missing).toContain('<code>--speed</code>')
  const encoder = String(speedSection({ ...report, family: 'bert' }))
  expect(encoder).toContain('A text encoder writes no texts')
  expect(encoder).not.toContain('--speed')
})
