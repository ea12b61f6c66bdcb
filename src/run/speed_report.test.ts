import { expect, test } from 'vitest'
import { formText, type ModelSpeed, rateText, type SpeedReport, speedRemarks } from './speed_report.ts'

const model = (extra: Partial<ModelSpeed>): ModelSpeed => ({
  ...{ prefill: 100, decode: 10, least: { prefill: 100, decode: 10 } },
  ...{ form: 'packed int8', packed: 1, headPacked: true, weightBytes: 1000, contextBytes: 10 },
  ...extra,
})
const remarks = (result: Partial<ModelSpeed>, extra: Partial<SpeedReport> = {}) =>
  speedRemarks({
    ...{ machine: 'm', prompt: 128, written: 32, rounds: 3 },
    ...{ source: model({}), result: model({ decode: 20, ...result }) },
    ...extra,
  })

test('nothing is said of a result that writes faster', () => {
  expect(remarks({})).toEqual([])
  expect(remarks({ decode: 10.5 })).toEqual([])
})
test('a result that writes less than 5% faster is told with both rates', () => {
  expect(remarks({ decode: 10.49 })).toEqual([
    'Writing did not become faster: 10.0 tokens/s before, 10.5 after.',
  ])
  expect(remarks({ decode: 150, prefill: 1 }, { source: model({ decode: 200 }) })).toEqual([
    'Writing did not become faster: 200 tokens/s before, 150 after.',
  ])
})
test('weights that are f32 in memory bring no speed, whatever the rates of this moment are', () => {
  expect(remarks({ form: 'decoded to floats', packed: 0 })).toEqual([
    'No speed from this on this device: its weights are decoded to floats in memory.',
  ])
  expect(remarks({ form: 'f32', packed: 0 })).toEqual([
    'No speed from this on this device: its weights are f32 in memory.',
  ])
  expect(remarks({ form: 'mixed', packed: 0.75 })).toEqual([
    'No speed on this device from 25% of the linear weights, which are decoded to floats in memory.',
  ])
})
test('zeros bring no speed, packed or not', () => {
  expect(remarks({}, { pruned: true })).toEqual([
    'No speed from zeros on this device: products read them like other weights.',
  ])
  expect(remarks({ form: 'decoded to floats', packed: 0 }, { pruned: true })).toEqual([
    'No speed from this on this device: its weights are decoded to floats in memory, its zeros like other numbers.',
  ])
})
test('a form says where the head differs, and how much is packed', () => {
  expect(formText(model({}))).toBe('packed int8')
  expect(formText(model({ headPacked: false }))).toBe('packed int8, head decoded to floats')
  expect(formText(model({ form: 'decoded to floats' }))).toBe('decoded to floats, head packed int8')
  expect(formText(model({ form: 'mixed', packed: 0.999 }))).toBe('99% packed int8, others decoded to floats')
})
test('rates have one digit below 100, and a dash where there is none', () => {
  expect([9.96, 99.94, 99.96, 1234, Number.NaN, undefined].map(rateText)).toEqual([
    ...['10.0', '99.9', '100', '1234', '–', '–'],
  ])
})
