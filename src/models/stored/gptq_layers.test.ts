import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { fixturePath, numbers, openFixture } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'
import { readGptqConfig } from './gptq_layers.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'huggingface-weights-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

describe('quantization_config', () => {
  const whole = { quant_method: 'gptq', bits: 4, group_size: 32 }

  test('fields that are missing have the defaults of the format', () => {
    expect(readGptqConfig(whole)).toEqual({
      bits: 4,
      groupSize: 32,
      symmetric: true,
      format: 'gptq',
      dynamic: new Map(),
    })
    expect(readGptqConfig({ quant_method: 'gptq', bits: 3 }).groupSize).toBe(128)
    expect(readGptqConfig({ ...whole, group_size: -1, sym: false, checkpoint_format: 'gptq_v2' })).toEqual({
      bits: 4,
      groupSize: 'row',
      symmetric: false,
      format: 'gptq_v2',
      dynamic: new Map(),
    })
  })
  test.each([
    [{ bits: 5 }, /bits must be/],
    [{ bits: '4' }, /bits must be/],
    [{ group_size: 0 }, /group_size/],
    [{ group_size: 1.5 }, /group_size/],
    [{ checkpoint_format: 'marlin' }, /marlin/],
    [{ dynamic: ['.*'] }, /dynamic/],
    [{ dynamic: { '.*': 8 } }, /dynamic/],
  ])('%j is refused', (wrong, message) => {
    expect(() => readGptqConfig({ ...whole, ...wrong })).toThrow(FormatError)
    expect(() => readGptqConfig({ ...whole, ...wrong })).toThrow(message)
  })
})

/** A copy of the 4-bit fixture with a changed header or config. */
function changed(
  name: string,
  change: (
    header: Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>,
    config: Record<string, unknown>,
  ) => void,
): string {
  const copy = join(folder, name)
  cpSync(fixturePath('llama-gptq-4'), copy, { recursive: true })
  const path = join(copy, 'model.safetensors')
  const bytes = readFileSync(path)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
  const config = JSON.parse(readFileSync(join(copy, 'config.json'), 'utf8'))
  change(header, config)
  const text = Buffer.from(JSON.stringify(header))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(path, Buffer.concat([size, text, bytes.subarray(8 + length)]))
  writeFileSync(join(copy, 'config.json'), JSON.stringify(config))
  return copy
}
const stem = 'model.layers.0.mlp.up_proj'
function load(path: string) {
  const open = openLanguageModel(path)
  try {
    return numbers(open.weights.load(`${stem}.weight`))
  } finally {
    open.close()
  }
}

test('four tensors of a layer show as one weight with the shape of the matrix and the bytes of all', () => {
  const open = openFixture('llama-gptq-4')
  const names = [...open.weights.infos.keys()]
  expect(names.filter((name) => name.startsWith(stem))).toEqual([`${stem}.weight`])
  // 32 x 32 codes of 4 bits, 2 groups with 32 zeros of 4 bits and 32 scales, an index of 32.
  expect(open.weights.infos.get(`${stem}.weight`)).toMatchObject({
    shape: [32, 32],
    type: 'gptq-4bit',
    bytes: 512 + 32 + 128 + 128,
  })
  open.close()
})
test('another method is named with those that Pare reads', () => {
  const path = changed('method', (_, config) =>
    Object.assign(config.quantization_config as object, { quant_method: 'bitsandbytes' }),
  )
  expect(() => openLanguageModel(path)).toThrow(/bitsandbytes .* Pare reads .*gptq/)
})
test('fields of single modules decide by the first pattern that begins like their name', () => {
  const block: [string, object] = ['+:model\\.layers\\.0\\.mlp', {}]
  const layer: [string, object] = ['model.*up_proj', { bits: 8 }]
  // Found from the beginning of a name, so that this one takes nothing.
  const end: [string, object] = ['up_proj', { bits: 2 }]
  const [first, second] = [
    [block, layer, end],
    [end, layer, block],
  ].map((fields, i) =>
    changed(`dynamic-${i}`, (_, config) =>
      Object.assign(config.quantization_config as object, { dynamic: Object.fromEntries(fields) }),
    ),
  ) as [string, string]
  expect(load(first)).toEqual(load(fixturePath('llama-gptq-4')))
  expect(() => load(second)).toThrow(stem)
})
test('a pattern that never ends is refused by name within its second', () => {
  const path = changed('endless', (_, config) =>
    Object.assign(config.quantization_config as object, { dynamic: { '(([a-z_0-9.]+)+)+!': { bits: 8 } } }),
  )
  expect(() => openLanguageModel(path)).toThrow(/dynamic/)
})
test('without a quantization_config the codes cannot be read', () => {
  const path = changed('unsaid', (_, config) => void delete config.quantization_config)
  expect(() => openLanguageModel(path)).toThrow(/qweight: config\.json has no quantization_config/)
})
test.each(['qzeros', 'scales', 'qweight'])('%s of another shape or type is refused by name', (part) => {
  const shape = changed(`shape-${part}`, (header) => header[`${stem}.${part}`]!.shape.reverse())
  const type = changed(`type-${part}`, (header) => {
    const entry = header[`${stem}.${part}`]!
    entry.dtype = part === 'scales' ? 'I16' : 'F32'
  })
  // A turned qweight says another shape of the matrix, which the config contradicts.
  expect(() => load(shape)).toThrow(FormatError)
  expect(() => load(shape)).toThrow(stem)
  expect(() => load(type)).toThrow(`${stem}.${part}`)
})
test('bits that the words do not hold are refused', () => {
  const path = changed('bits', (_, config) =>
    Object.assign(config.quantization_config as object, { bits: 8 }),
  )
  expect(() => load(path)).toThrow(FormatError)
})
test('without an index groups are neighbours', () => {
  const path = changed('ordered', (header) => {
    const { data_offsets, ...rest } = header[`${stem}.g_idx`]!
    delete header[`${stem}.g_idx`]
    header['model.layers.0.rotary_emb.inv_freq'] = { ...rest, data_offsets }
  })
  const [sorted, plain] = [load(fixturePath('llama-gptq-4')), load(path)]
  expect(plain).toHaveLength(sorted.length)
  expect(plain).not.toEqual(sorted)
})
test('a folder without config.json is no model folder', () => {
  expect(() => openLanguageModel(folder)).toThrow(expect.objectContaining({ code: 'PARE_E_NO_CONFIG' }))
})
