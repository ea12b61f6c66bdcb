import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createGguf } from '../formats/gguf/writer.ts'
import { createOnnx } from '../formats/onnx/writer.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import { fixturePath, numbers } from '../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import { summarizeValues, type TensorValues, type ValueOptions, type ValueSummary } from './value_summary.ts'

let folder: string
let path: string
/** Three zeros, 4 and -4, and one of each that is no number. */
const odd = Float32Array.of(0, 0, 4, -4, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0)
const ramp = Float32Array.from({ length: 1600 }, (_, i) => i / 100)
const tensors: [name: string, type: string, shape: number[], bytes: Uint8Array][] = [
  ['odd', 'F32', [2, 4], new Uint8Array(odd.buffer)],
  ['ramp', 'F32', [1600], new Uint8Array(ramp.buffer)],
  ['one.value', 'F16', [3], Uint8Array.of(0, 0x3e, 0, 0x3e, 0, 0x3e)],
  ['small', 'F4', [2, 3], Uint8Array.of(0x21, 0x43, 0x65)],
  ['scalar', 'I64', [], Uint8Array.of(7, 0, 0, 0, 0, 0, 0, 0)],
  ['empty', 'F32', [0, 4], new Uint8Array(0)],
  ['nothing', 'F8_E4M3', [2], Uint8Array.of(0x7f, 0xff)],
  ['complex', 'C64', [1], new Uint8Array(8)],
]
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'value-summary-'))
  path = join(folder, 'a.safetensors')
  const writer = createSafetensors(
    path,
    tensors.map(([name, type, shape]) => ({ name, type, shape })),
  )
  for (const [name, , , bytes] of tensors) writer.append(name, bytes)
  writer.finish()
})
afterAll(() => rmSync(folder, { recursive: true }))

async function valuesOf(of: string, options: ValueOptions = {}): Promise<Map<string, TensorValues>> {
  const found = new Map<string, TensorValues>()
  for await (const values of summarizeValues(of, options)) found.set(values.name, values)
  return found
}
const summaryIn = (values: TensorValues | undefined): ValueSummary => {
  if (!values || !('summary' in values)) throw new Error('no summary')
  return values.summary
}
const only = async (name: string) => summaryIn((await valuesOf(path, { only: name })).get(name))

test('numbers that are none are counted apart from the rest', async () => {
  expect(await only('odd')).toEqual({
    count: 8,
    nan: 1,
    infinite: 2,
    zeros: 3 / 8,
    finite: {
      min: -4,
      max: 4,
      mean: 0,
      // The square root of (16 + 16) / 5.
      deviation: Math.sqrt(6.4),
      histogram: {
        from: -4,
        to: 4,
        bins: [1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1],
        below: 0,
        above: 0,
      },
    },
  })
})
test('an even ramp fills the bins evenly', async () => {
  const finite = (await only('ramp')).finite!
  expect(finite.mean).toBeCloseTo(7.995, 5)
  // The last value, 15.99, ends the last bin; f32 rounds a few to the bin beside.
  for (const bin of finite.histogram.bins) expect(Math.abs(bin - 100)).toBeLessThanOrEqual(1)
  expect(finite.histogram.bins.reduce((a, b) => a + b)).toBe(1600)
})
test('values beyond three deviations stand outside of the bins', async () => {
  const file = join(folder, 'outlier.safetensors')
  const values = new Float32Array(1000).map((_, i) => (i % 2 ? 1 : -1))
  values[0] = 1000
  const writer = createSafetensors(file, [{ name: 'w', type: 'F32', shape: [1000] }])
  writer.append('w', new Uint8Array(values.buffer))
  writer.finish()
  const { finite } = summaryIn((await valuesOf(file)).get('w'))
  expect(finite!.histogram).toMatchObject({ above: 1, below: 0, from: -1 })
})
test('one value, scalars, small floats, empty tensors and those without a number have what they have', async () => {
  expect(await only('one.value')).toMatchObject({
    finite: { min: 1.5, max: 1.5, deviation: 0, histogram: { from: 1.5, to: 1.5 } },
  })
  expect(await only('scalar')).toMatchObject({ count: 1, finite: { mean: 7 } })
  expect(await only('small')).toMatchObject({ count: 6, finite: { min: 0.5, max: 4 } })
  expect(await only('empty')).toEqual({ count: 0, nan: 0, infinite: 0, zeros: 0 })
  expect(await only('nothing')).toEqual({ count: 2, nan: 2, infinite: 0, zeros: 0 })
  expect((await valuesOf(path)).get('complex')).toEqual({
    name: 'complex',
    missing: 'Pare does not decode C64',
  })
})
test('all tensors come in the order of the file, and a pattern that takes none is refused', async () => {
  expect((await valuesOf(path)).size).toBe(tensors.length)
  await expect(valuesOf(path, { only: 'x.**' })).rejects.toThrow(OptionError)
  await expect(valuesOf(path, { only: 'x.**' })).rejects.toThrow(
    /--only: x\.\*\* matches none of the 8 tensors/,
  )
})
test('a tensor of several parts has the numbers of the whole', async () => {
  const file = join(folder, 'large.safetensors')
  // More than one part of 4 MiB, and more than is kept between the passes.
  const count = 2 ** 24 + 8
  const bytes = new Uint8Array(count)
  bytes.fill(0x38)
  bytes.fill(0xb8, 0, count / 2)
  const writer = createSafetensors(file, [{ name: 'w', type: 'F8_E4M3', shape: [count] }])
  writer.append('w', bytes)
  writer.finish()
  const summary = summaryIn((await valuesOf(file)).get('w'))
  expect(summary).toMatchObject({
    count,
    zeros: 0,
    finite: { min: -1, max: 1, mean: 0, deviation: 1, histogram: { below: 0, above: 0 } },
  })
  const { bins } = summary.finite!.histogram
  expect([bins[0], bins[15]]).toEqual([count / 2, count / 2])
})
test('block types have the values that the model computes with', async () => {
  const file = join(folder, 'q8.gguf')
  const writer = createGguf(file, new Map(), [{ name: 'w', type: 'Q8_0', shape: [2, 32] }])
  const bytes = new Uint8Array(68)
  // Scales of 1 and 0.5, codes 1 to 32 and all -2.
  bytes.set([0, 0x3c, ...Array.from({ length: 32 }, (_, i) => i + 1)], 0)
  bytes.set([0, 0x38, ...new Array<number>(32).fill(254)], 34)
  writer.append('w', bytes)
  writer.finish()
  const summary = summaryIn((await valuesOf(file)).get('w'))
  expect(summary).toMatchObject({
    count: 64,
    finite: { min: -1, max: 32, mean: (528 - 32) / 64 },
  })
  const tiny = fixturePath('llama-f16.gguf')
  const open = openLanguageModel(tiny)
  const norm = scope(() => numbers(open.weights.load('model.norm.weight')))
  open.close()
  const values = (await valuesOf(tiny, { only: 'output_norm' })).get('output_norm.weight')
  expect(summaryIn(values).finite).toMatchObject({
    min: Math.min(...norm),
    max: Math.max(...norm),
  })
})
test('ONNX: whole numbers of less than a byte have values, also where a row ends inside of a byte', async () => {
  const file = join(folder, 'small.onnx')
  const initializers = [
    { name: 'u4', type: 'U4', shape: [3, 3] },
    { name: 'i4', type: 'I4', shape: [2, 8] },
    { name: 'i2', type: 'I2', shape: [4] },
    { name: 'f4', type: 'F4', shape: [1, 3] },
    { name: 'c128', type: 'C128', shape: [1] },
  ]
  const graph = { name: 'g', inputs: [], outputs: [], nodes: [], initializers }
  const writer = createOnnx(file, { graph, opsets: new Map([['', 21]]) })
  const nibbles = Uint8Array.of(0x21, 0x43, 0x65, 0x87, 0x09)
  writer.append('u4', nibbles)
  writer.append('i4', Uint8Array.of(0xf7, 0x80, 0, 0, 0, 0, 0, 0))
  writer.append('i2', Uint8Array.of(0b11_10_01_00))
  writer.append('f4', Uint8Array.of(0x21, 0x0f))
  writer.append('c128', new Uint8Array(16))
  writer.finish()
  const found = await valuesOf(file)
  const summary = (name: string) => summaryIn(found.get(name))
  expect(summary('u4')).toMatchObject({ count: 9, zeros: 0, finite: { min: 1, max: 9, mean: 5 } })
  expect(summary('i4')).toMatchObject({
    count: 16,
    zeros: 13 / 16,
    finite: { min: -8, max: 7, mean: -2 / 16 },
  })
  expect(summary('i2')).toMatchObject({ count: 4, zeros: 1 / 4, finite: { min: -2, max: 1, mean: -0.5 } })
  // E2M1: 1 is 0.5, 2 is 1, 15 is -6.
  expect(summary('f4')).toMatchObject({ count: 3, finite: { min: -6, max: 1 } })
  expect(found.get('c128')).toEqual({ name: 'c128', missing: 'Pare does not decode C128' })
})
test('a signal stops it between two parts', async () => {
  const stopped = new AbortController()
  stopped.abort()
  const reading = summarizeValues(path, {}, { signal: stopped.signal })
  await expect(reading.next()).rejects.toThrow(AbortError)
})
