import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { openFixture } from '../llama/fixtures.suite.ts'
import { readAwqConfig } from './awq_layers.ts'
import { loadChanged, threeReadings } from './changed_fixture.suite.ts'

const stem = 'model.layers.0.mlp.up_proj'

test('fields that are missing have the defaults of the format', () => {
  expect(readAwqConfig({ quant_method: 'awq', bits: 4, version: 'GEMM' })).toEqual({ groupSize: 128 })
  expect(readAwqConfig({ quant_method: 'awq', group_size: -1 })).toEqual({ groupSize: 'row' })
})
test.each([
  [{ bits: 8 }, /bits must be 4, got 8/],
  [{ version: 'gemv' }, /version must be gemm, got gemv/],
  [{ backend: 'llm-awq' }, /backend/],
  [{ zero_point: false }, /zero_point/],
  [{ group_size: 0 }, /group_size/],
  [{ group_size: 'all' }, /group_size/],
])('%j is refused', (wrong, message) => {
  expect(() => readAwqConfig(wrong)).toThrow(FormatError)
  expect(() => readAwqConfig(wrong)).toThrow(message)
})
test('three tensors of a layer show as one weight, and modules that were left out as they are', () => {
  const open = openFixture('awq')
  const { infos } = open.weights
  expect([...infos.keys()].filter((name) => name.startsWith(stem))).toEqual([`${stem}.weight`])
  // 64 x 64 codes of 4 bits, 2 groups with 64 zeros of 4 bits and 64 scales of 16.
  const bytes = 2048 + 64 + 256
  expect(infos.get(`${stem}.weight`)).toMatchObject({ shape: [64, 64], type: 'awq-4bit', bytes })
  expect(infos.get('model.layers.0.self_attn.v_proj.weight')).toMatchObject({ shape: [32, 64], type: 'F16' })
  open.close()
})
test('rows and slices are those of the whole weight', () => {
  const { rows, slice } = threeReadings('awq', `${stem}.weight`)
  expect(rows.found).toEqual(rows.expected)
  expect(slice.found).toEqual(slice.expected)
})
test.each(['qweight', 'qzeros', 'scales'])('%s of another shape or type is refused by name', (part) => {
  const load = (change: (entry: { dtype: string; shape: number[] }) => void) => () =>
    loadChanged('awq', `${stem}.weight`, (header) => change(header[`${stem}.${part}`]!))
  const turned = load(({ shape }) => void shape.reverse())
  const retyped = load((entry) => {
    entry.dtype = part === 'scales' ? 'I16' : 'F32'
  })
  expect(turned).toThrow(FormatError)
  expect(turned).toThrow(stem)
  expect(retyped).toThrow(`${stem}.${part}: needs`)
})
test('groups that the scales do not have are refused', () => {
  const wider = () =>
    loadChanged('awq', `${stem}.weight`, (_, config) => {
      config.quantization_config.group_size = 64
    })
  expect(wider).toThrow(/qzeros: needs I32 \[1, 8\], the file has I32 \[2, 8\]/)
})
