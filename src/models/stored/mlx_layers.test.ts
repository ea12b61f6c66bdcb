import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { fixturePath, openFixture } from '../llama/fixtures.suite.ts'
import { loadChanged, loadWeight, threeReadings } from './changed_fixture.suite.ts'
import { readMlxConfig } from './mlx_layers.ts'

const stem = 'model.layers.0.mlp.up_proj'
const embedding = 'model.embed_tokens'

test('modules have the settings of their path, and the rest the general ones', () => {
  const config = { bits: 4, group_size: 64, mode: 'affine', a: { bits: 8 }, b: false, quant_method: 'mlx' }
  expect(readMlxConfig(config)).toEqual({
    bits: 4,
    groupSize: 64,
    modules: new Map([
      ['a', { bits: 8, groupSize: 64 }],
      ['b', undefined],
    ]),
  })
})
test.each([
  [{ bits: 7 }, /bits must be/],
  [{ group_size: 16 }, /group_size/],
  [{ mode: 'mxfp4' }, /mode must be affine, got mxfp4/],
  [{ 'model.a': { mode: 'nvfp4' } }, /model\.a\.mode/],
])('%j is refused', (wrong, message) => {
  const read = () => readMlxConfig({ bits: 4, group_size: 64, ...wrong })
  expect(read).toThrow(FormatError)
  expect(read).toThrow(message)
})
test('three tensors of a layer show as one weight, embeddings too, and modules that were left out as they are', () => {
  const open = openFixture('mlx-overrides')
  const { infos } = open.weights
  expect([...infos.keys()].filter((name) => name.startsWith(stem))).toEqual([`${stem}.weight`])
  // 64 x 64 codes of 4 bits, a scale and an offset of 32 bits a row.
  expect(infos.get(`${stem}.weight`)).toMatchObject({ shape: [64, 64], type: 'mlx-4bit', bytes: 2048 + 512 })
  // 32 x 64 codes of 8 bits, in groups of 32.
  expect(infos.get(`${embedding}.weight`)).toMatchObject({
    shape: [32, 64],
    type: 'mlx-8bit',
    bytes: 2048 + 512,
  })
  expect(infos.get('model.layers.0.self_attn.v_proj.weight')).toMatchObject({ shape: [32, 64], type: 'F32' })
  open.close()
})
test.each([
  ['mlx-3', stem],
  ['mlx-4-bf16', embedding],
  ['mlx-overrides', embedding],
] as const)('%s: rows and slices of %s are those of the whole weight', (fixture, module) => {
  const { rows, slice } = threeReadings(fixture, `${module}.weight`)
  expect(rows.found).toEqual(rows.expected)
  expect(slice.found).toEqual(slice.expected)
})
test('rows of an embedding read no others', () => {
  const open = openFixture('mlx-4-f16')
  const values = open.weights.stored!(`${embedding}.weight`, 5, 6)
  expect(values).toMatchObject({ kind: 'offset', codes: { shape: [1, 64] }, scales: { shape: [1, 1] } })
  open.close()
})
test('quantization alone says the same as quantization_config', () => {
  const name = `${stem}.weight`
  const alone = loadChanged('mlx-3', name, (_, config) => void delete config.quantization_config)
  const repeated = loadChanged('mlx-3', name, (_, config) => void delete config.quantization)
  expect(alone).toEqual(repeated)
  expect(alone).toEqual(loadWeight(fixturePath('mlx-3'), name))
})
test.each(['weight', 'scales', 'biases'])('%s of another shape or type is refused by name', (part) => {
  const load = (change: (entry: { dtype: string; shape: number[] }) => void) => () =>
    loadChanged('mlx-4-f16', `${stem}.weight`, (header) => change(header[`${stem}.${part}`]!))
  const longer = load(({ shape }) => void shape.push(1))
  const retyped = load((entry) => {
    entry.dtype = part === 'weight' ? 'I32' : 'I16'
  })
  expect(longer).toThrow(`${stem}.${part}: needs`)
  expect(retyped).toThrow(`${stem}.${part}: needs`)
})
test('settings that the tensors contradict are refused', () => {
  const load = (own: unknown) => () =>
    loadChanged('mlx-4-f16', `${stem}.weight`, (_, config) => {
      config.quantization_config[stem] = own
    })
  expect(load(false)).toThrow(`${stem}: has scales`)
  expect(load({ bits: 8 })).toThrow(`${stem}.weight: the config asks for [64, 64], the file has [64, 32]`)
  expect(load({ group_size: 128 })).toThrow(`${stem}.scales: needs`)
})
