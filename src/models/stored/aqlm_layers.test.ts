import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { TensorArchive, TensorInfo } from '../../formats/archive.ts'
import { bytesSource } from '../../formats/file.ts'
import { layOut } from '../../formats/safetensors/header.ts'
import { openSources } from '../../formats/safetensors/safetensors.ts'
import { decodeStored } from '../../nn/values/values.ts'
import { FormatError } from '../../tensor/errors.ts'
import { numbers, openFixture } from '../llama/fixtures.suite.ts'
import { aqlmLayers, readAqlmConfig } from './aqlm_layers.ts'
import { loadChanged, threeReadings } from './changed_fixture.suite.ts'

const stem = 'model.layers.0.mlp.up_proj'

test('fields that are missing have the defaults of the format', () => {
  expect(readAqlmConfig({ quant_method: 'aqlm' })).toEqual({
    codebooks: 1,
    bits: 16,
    outGroup: 1,
    inGroup: 8,
  })
})
test.each([
  ['num_codebooks', 0],
  ['num_codebooks', 65],
  ['nbits_per_codebook', 17],
  ['in_group_size', '8'],
  ['out_group_size', 1.5],
])('%s of %j is refused', (field, value) => {
  expect(() => readAqlmConfig({ [field]: value })).toThrow(FormatError)
  expect(() => readAqlmConfig({ [field]: value })).toThrow(field)
})
test.each([
  // 32 x 4 x 2 codes of a byte, 2 x 256 entries of 8 halves, 32 scales.
  ['aqlm-2x8', 'aqlm-2x8', 256 + 8192 + 64],
  ['aqlm-2x8-inputs-first', 'aqlm-2x8', 256 + 8192 + 64],
  // 32 x 4 codes of 2 bytes, 1024 entries.
  ['aqlm-1x10', 'aqlm-1x10', 256 + 16384 + 64],
] as const)('%s: three tensors of a layer show as one weight', (fixture, type, bytes) => {
  const open = openFixture(fixture)
  const { infos } = open.weights
  expect([...infos.keys()].filter((name) => name.startsWith(stem))).toEqual([`${stem}.weight`])
  expect(infos.get(`${stem}.weight`)).toMatchObject({ shape: [32, 32], type, bytes })
  open.close()
})
test('modules that were left out stay as they are', () => {
  const open = openFixture('aqlm-1x10')
  expect(open.weights.infos.get('model.layers.0.self_attn.o_proj.weight')).toMatchObject({ type: 'F16' })
  open.close()
})
test.each(['aqlm-2x8', 'aqlm-2x8-inputs-first', 'aqlm-1x10'] as const)(
  '%s: rows and slices are those of the whole weight',
  (fixture) => {
    const { rows, slice } = threeReadings(fixture, `${stem}.weight`)
    expect(rows.found).toEqual(rows.expected)
    expect(slice.found).toEqual(slice.expected)
  },
)
test('rows within a group of outputs are those of the whole weight', () => {
  // Groups of 2 outputs by 4 inputs: [16, 8, 2] codes, the numbers of an entry in another shape, half of the scales.
  const { data, tensors } = pairs()
  const archive = openSources([bytesSource('m.safetensors', data)])
  expect(archive.tensors.size).toBe(tensors)
  const [layer] = aqlmLayers(archive, { codebooks: 1, bits: 2, outGroup: 2, inGroup: 4 })
  const read = (start: number, end: number) => numbers(decodeStored(layer!.values(start, end)))
  expect(layer!.info.shape).toEqual([4, 8])
  // The first row of entries 0 and 3, times the scale 1.
  expect(read(0, 4).slice(0, 8)).toEqual([0, 1, 2, 3, 24, 25, 26, 27])
  expect(read(1, 3)).toEqual(read(0, 4).slice(8, 24))
})

test('one and two codebooks, groups of 1 and 2 outputs: weights are the naive sum', () => {
  const layers = fc.record({
    codebooks: fc.constantFrom(1, 2),
    outGroup: fc.constantFrom(1, 2),
    inGroup: fc.constantFrom(1, 4, 8),
    down: fc.integer({ min: 1, max: 3 }),
    across: fc.integer({ min: 1, max: 4 }),
    bits: fc.constantFrom(3, 8, 9),
  })
  fc.assert(
    fc.property(layers, fc.infiniteStream(fc.nat(65535)), (drawn, stream) => {
      const { codebooks, outGroup, inGroup, down, across, bits } = drawn
      const entries = 2 ** bits
      const draw = (length: number) => Array.from({ length }, () => stream.next().value as number)
      const indices = draw(down * across * codebooks).map((n) => n % entries)
      // Sums and products of these are exact.
      const books = Float32Array.from(draw(codebooks * entries * outGroup * inGroup), (n) => (n % 64) - 32)
      const scales = Float32Array.from(draw(down), (n) => 2 ** ((n % 5) - 2))
      const codes =
        bits <= 8
          ? Int8Array.from(indices)
          : Int16Array.from(indices, (n) => (n << (16 - bits)) >> (16 - bits))
      const archive = fileOf([
        { name: 'a.codebooks', type: 'F32', shape: [codebooks, entries, outGroup, inGroup], values: books },
        { name: 'a.scales', type: 'F32', shape: [down, 1, 1, 1], values: scales },
        { name: 'a.codes', type: bits <= 8 ? 'I8' : 'I16', shape: [down, across, codebooks], values: codes },
      ])
      const [layer] = aqlmLayers(archive, { codebooks, bits, outGroup, inGroup })
      const [rows, columns] = [down * outGroup, across * inGroup]
      const expected = Array.from({ length: rows * columns }, (_, at) => {
        const [row, column] = [Math.floor(at / columns), at % columns]
        const [o, a, i, c] = [
          Math.floor(row / outGroup),
          row % outGroup,
          Math.floor(column / inGroup),
          column % inGroup,
        ]
        let sum = 0
        for (let m = 0; m < codebooks; m++) {
          const index = indices[(o * across + i) * codebooks + m]!
          sum += books[((m * entries + index) * outGroup + a) * inGroup + c]!
        }
        return sum * scales[o]!
      })
      expect(layer!.info.shape).toEqual([rows, columns])
      expect(numbers(decodeStored(layer!.values(0, rows))).map((x) => x + 0)).toEqual(
        expected.map((x) => x + 0),
      )
    }),
    { numRuns: 40 },
  )
})

function fileOf(tensors: readonly (TensorInfo & { values: ArrayBufferView })[]): TensorArchive {
  const { head, size, tensors: placed } = layOut(tensors, {})
  const data = new Uint8Array(size)
  data.set(head)
  const values = new Map(tensors.map((tensor) => [tensor.name, tensor.values]))
  for (const { name, offset } of placed) data.set(new Uint8Array(values.get(name)!.buffer), offset)
  return openSources([bytesSource('m.safetensors', data)])
}

/** Codes -2 and -1 stand for 2 and 3; entry e of the codebook counts from 8e on. Scales 1 and 2. */
function pairs() {
  const entries = [
    { name: 'a.codebooks', type: 'F32', shape: [1, 4, 2, 4] },
    { name: 'a.scales', type: 'F32', shape: [2, 1, 1, 1] },
    { name: 'a.codes', type: 'I8', shape: [2, 2, 1] },
  ]
  const { head, size } = layOut(entries, {})
  const data = new Uint8Array(size)
  data.set(head)
  const floats = Float32Array.of(...Array(32).keys(), 1, 2)
  data.set(new Uint8Array(floats.buffer), head.length)
  data.set(Int8Array.of(0, -1, -2, 1), head.length + floats.byteLength)
  return { data, tensors: entries.length }
}
test.each(['codes', 'codebooks', 'scales'])('%s of another shape or type is refused by name', (part) => {
  const load = (change: (entry: { dtype: string; shape: number[] }) => void) => () =>
    loadChanged('aqlm-2x8', `${stem}.weight`, (header) => change(header[`${stem}.${part}`]!))
  const longer = load(({ shape }) => void shape.push(1))
  const retyped = load((entry) => {
    entry.dtype = part === 'codes' ? 'U8' : 'I16'
  })
  expect(longer).toThrow(`${stem}.${part}: needs`)
  expect(retyped).toThrow(`${stem}.${part}: needs`)
})
