import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { openFixture } from '../llama/fixtures.suite.ts'
import { loadChanged, threeReadings } from './changed_fixture.suite.ts'
import { readSpqrConfig } from './spqr_layers.ts'

const stem = 'model.layers.0.mlp.up_proj'
const whole = { quant_method: 'spqr', bits: 3, beta1: 16, beta2: 16, shapes: {} }

test.each([{ bits: 4 }, { beta1: 8 }, { beta2: 32 }, { shapes: undefined }])('%j is refused', (wrong) => {
  expect(() => readSpqrConfig({ ...whole, ...wrong })).toThrow(FormatError)
  expect(() => readSpqrConfig({ ...whole, ...wrong })).toThrow(Object.keys(wrong)[0])
})
test.each([
  // 64 words of 8 bytes, 33 offsets and 55 outliers of 4 bytes.
  ['spqr-csr', 512 + 132 + 220],
  // 3 offsets, 96 outliers, an order of 16 words.
  ['spqr-ptcsr', 512 + 12 + 384 + 64],
] as const)('%s: the tensors of a layer show as one weight', (fixture, bytes) => {
  const open = openFixture(fixture)
  const { infos } = open.weights
  expect([...infos.keys()].filter((name) => name.startsWith(stem))).toEqual([`${stem}.weight`])
  expect(infos.get(`${stem}.weight`)).toMatchObject({ shape: [32, 32], type: 'spqr-3bit', bytes })
  expect(infos.get('model.embed_tokens.weight')).toMatchObject({ type: 'F16' })
  open.close()
})
test.each(['spqr-csr', 'spqr-ptcsr'] as const)(
  '%s: rows and slices are those of the whole weight',
  (fixture) => {
    const { rows, slice } = threeReadings(fixture, `${stem}.weight`)
    expect(rows.found).toEqual(rows.expected)
    expect(slice.found).toEqual(slice.expected)
  },
)
test.each(['dense_weights', 'row_offsets', 'col_vals', 'in_perm'])(
  '%s of another shape or type is refused by name',
  (part) => {
    const load = (change: (entry: { dtype: string; shape: number[] }) => void) => () =>
      loadChanged('spqr-ptcsr', `${stem}.weight`, (header) => change(header[`${stem}.${part}`]!))
    const longer = load(({ shape }) => void shape.push(1))
    const retyped = load((entry) => {
      entry.dtype = part === 'dense_weights' ? 'F64' : 'F32'
    })
    expect(longer).toThrow(`${stem}.${part}: needs`)
    expect(retyped).toThrow(`${stem}.${part}: needs`)
  },
)
test('lengths of the configuration that are not those of the file are refused by name', () => {
  const shorter = () =>
    loadChanged('spqr-csr', `${stem}.weight`, (_, { quantization_config: { shapes } }) => {
      shapes[`${stem}.col_vals.shape`]--
    })
  expect(shorter).toThrow(`${stem}.col_vals: needs`)
})
test('outliers past the last column are refused by name', () => {
  const past = () =>
    loadChanged('spqr-csr', `${stem}.weight`, (header, _, data) => {
      data.writeUInt16LE(32, header[`${stem}.col_vals`]!.data_offsets[0])
    })
  expect(past).toThrow(`${stem}.col_vals: row`)
})
