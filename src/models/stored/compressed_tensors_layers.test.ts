import { describe, expect, test } from 'vitest'
import { bytesSource } from '../../formats/file.ts'
import { decodeToF32 } from '../../formats/safetensors/decode.ts'
import { layOut } from '../../formats/safetensors/header.ts'
import { openSafetensors, openSources } from '../../formats/safetensors/safetensors.ts'
import { decodeStored } from '../../nn/values/values.ts'
import { FormatError } from '../../tensor/errors.ts'
import { type FixtureName, fixturePath, numbers, openFixture } from '../llama/fixtures.suite.ts'
import { type Configuration, loadChanged, loadWeight, threeReadings } from './changed_fixture.suite.ts'
import { readCompressedTensorsConfig, schemesOf } from './compressed_tensors_config.ts'
import { compressedTensorsLayers } from './compressed_tensors_layers.ts'

const stem = 'model.layers.0.mlp.up_proj'
const group = (weights: object, ...targets: string[]) => ({ targets, weights })

describe('quantization_config', () => {
  const configOf = (weights: object) =>
    readCompressedTensorsConfig({
      format: 'pack-quantized',
      config_groups: { g: group(weights, 'Linear') },
    })
  test('strategies say which weights share a scale, as does a group size without one', () => {
    const shared = (weights: object) => configOf({ num_bits: 4, ...weights }).groups[0]!.scheme
    expect(shared({ strategy: 'tensor' })).toMatchObject({ rows: 'all', columns: 'row' })
    expect(shared({ strategy: 'channel' })).toMatchObject({ rows: 1, columns: 'row' })
    expect(shared({ strategy: 'block', block_structure: [2, 4] })).toMatchObject({ rows: 2, columns: 4 })
    expect(shared({ group_size: 8 })).toMatchObject({ rows: 1, columns: 8 })
    expect(shared({ group_size: -1 })).toMatchObject({ rows: 1, columns: 'row' })
    expect(shared({})).toMatchObject({ rows: 'all', columns: 'row' })
  })
  test.each([
    [{ format: 'marlin-24' }, /format must be .* got marlin-24/],
    [{ format: 'nvfp4-pack-quantized' }, /nvfp4/],
    [{ version: 0.1 }, /version/],
    [{ ignore: 'lm_head' }, /ignore/],
    [{ config_groups: [] }, /config_groups/],
    [{ config_groups: { g: 4 } }, /config_groups\.g/],
    [{ config_groups: { g: { weights: { num_bits: 4 } } } }, /targets/],
    [{ sparsity_config: { format: 'marlin' } }, /sparsity_config\.format/],
    ...[
      { num_bits: 9 },
      { num_bits: 4, type: 'float' },
      { num_bits: 8, type: 'float', symmetric: false },
      { num_bits: 4, strategy: 'group', group_size: 0 },
      { num_bits: 4, strategy: 'block' },
      { num_bits: 4, strategy: 'token' },
    ].map(
      (weights) => [{ config_groups: { g: group(weights, 'Linear') } }, /config_groups\.g\.weights/] as const,
    ),
  ] as const)('%j is refused', (wrong, message) => {
    expect(() => readCompressedTensorsConfig(wrong)).toThrow(FormatError)
    expect(() => readCompressedTensorsConfig(wrong)).toThrow(message)
  })
  test('a name comes before an expression, both before a class, and what is ignored has no scheme', () => {
    const bits = (num_bits: number) => ({ num_bits, strategy: 'channel' })
    const config = readCompressedTensorsConfig({
      ignore: ['c'],
      config_groups: {
        0: group(bits(2), 'Linear'),
        1: group(bits(3), 're:a'),
        2: group(bits(4), 'a.b'),
        3: group(bits(5), 'Embedding'),
      },
    })
    const modules = ['a.b', 'a.c', 'b.a', 'c', 'embed_tokens']
    const schemeOf = schemesOf(config, modules)
    expect(['a.b', 'a.c', 'b.a', 'embed_tokens'].map((module) => schemeOf(module).bits)).toEqual([4, 3, 2, 5])
    expect(() => schemeOf('c')).toThrow(/^c: is stored as codes, but no group/)
  })
})

test.each([
  // Codes, scales of 16 bits, shape; then zeros.
  ['ct-group-4', 'compressed-tensors-4bit', 512 + 128 + 16],
  ['ct-group-4-zeros', 'compressed-tensors-4bit', 512 + 128 + 16 + 32],
  ['ct-group-4-int8-zeros', 'compressed-tensors-4bit', 512 + 128 + 16 + 64],
  ['ct-tensor-4', 'compressed-tensors-4bit', 512 + 2 + 16 + 1],
  ['ct-int8', 'compressed-tensors-8bit', 1024 + 64],
  ['ct-float8', 'compressed-tensors-F8_E4M3', 1024 + 64],
  // Half the values, marks, shape; then scales.
  ['ct-sparse-24', 'sparse-24-bitmask-BF16', 1024 + 128 + 16],
  ['ct-sparse-24-float8', 'sparse-24-bitmask-F8_E4M3', 512 + 128 + 16 + 64],
] as const)('%s: the tensors of a layer show as one weight', (fixture, type, bytes) => {
  const open = openFixture(fixture)
  const { infos } = open.weights
  expect([...infos.keys()].filter((name) => name.startsWith(stem))).toEqual([`${stem}.weight`])
  expect(infos.get(`${stem}.weight`)).toMatchObject({ shape: [32, 32], type, bytes })
  open.close()
})
test.each([
  'ct-actorder',
  'ct-group-3-old',
  'ct-group-4-int8-zeros',
  'ct-tensor-4',
  'ct-int8',
  'ct-float8',
  'ct-sparse-24-float8',
  'ct-sparse-bitmask',
] as const)('%s: rows and slices are those of the whole weight', (fixture) => {
  const { rows, slice } = threeReadings(fixture, `${stem}.weight`)
  expect(rows.found).toEqual(rows.expected)
  expect(slice.found).toEqual(slice.expected)
})
test.each([
  ['ct-group-4-zeros', 'weight_packed'],
  ['ct-group-4-zeros', 'weight_scale'],
  ['ct-group-4-zeros', 'weight_zero_point'],
  ['ct-actorder', 'weight_g_idx'],
  ['ct-int8', 'weight'],
  ['ct-float8', 'weight'],
  ['ct-sparse-24', 'compressed'],
  ['ct-sparse-24', 'bitmask'],
  ['ct-sparse-bitmask', 'row_offsets'],
] as const)('%s: %s of another shape or type is refused by name', (fixture, part) => {
  const load = (change: (entry: { dtype: string; shape: number[] }) => void) => () =>
    loadChanged(fixture, `${stem}.weight`, (header) => change(header[`${stem}.${part}`]!))
  const longer = load(({ shape }) => void shape.push(1))
  const retyped = load((entry) => {
    const others: Record<string, string> = {
      I32: 'F32',
      I8: 'U8',
      U8: 'I8',
      BF16: 'I16',
      F8_E4M3: 'U8',
      I64: 'F64',
    }
    entry.dtype = others[entry.dtype]!
  })
  expect(longer).toThrow(FormatError)
  expect(longer).toThrow(stem)
  expect(retyped).toThrow(`${stem}.${part}: needs`)
})

/** Signed codes and scales of the layer, as its tensors lie in the file. */
function partsOfFixture(fixture: FixtureName): { codes: number[]; scales: number[] } {
  const path = fixturePath(fixture)
  const archive = openSafetensors(path)
  const words = new Uint32Array(archive.read(`${stem}.weight_packed`).slice().buffer)
  const codes = Array.from({ length: 32 * 32 }, (_, i) => ((words[i >> 3]! >>> (4 * (i & 7))) & 15) - 8)
  const scales = [...decodeToF32('BF16', archive.read(`${stem}.weight_scale`), 64)]
  archive.close()
  return { codes, scales }
}

const changed = (fixture: FixtureName, change: (config: Configuration) => void) => () =>
  loadChanged(fixture, `${stem}.weight`, (_, { quantization_config: config }) => change(config))

test('an order of -1 was never set, so that groups are neighbours', () => {
  const [unset, unsaid] = ([-1, undefined] as const).map((order) =>
    loadChanged('ct-actorder', `${stem}.weight`, (header, _, data) => {
      const name = `${stem}.weight_g_idx`
      const [start, end] = header[name]!.data_offsets as [number, number]
      if (order === undefined) {
        header['model.layers.0.rotary_emb.inv_freq'] = header[name]!
        delete header[name]
      } else for (let at = start; at < end; at += 4) data.writeInt32LE(order, at)
    }),
  )
  expect(unset).toEqual(unsaid)
  expect(unset).not.toEqual(loadWeight(fixturePath('ct-actorder'), `${stem}.weight`))
})
test('activations that are rounded change nothing of the weights', () => {
  const rounded = changed('ct-int8', ({ config_groups: { group_0 } }) => {
    group_0.input_activations = { num_bits: 8, dynamic: true }
  })
  expect(rounded()).toEqual(loadWeight(fixturePath('ct-int8'), `${stem}.weight`))
})
test('a scale for each block is that of the rows and columns of the block', () => {
  // The scales [32, 2] of groups as those of blocks [1, 16].
  const blocks = changed('ct-group-4', ({ config_groups: { group_0 } }) => {
    Object.assign(group_0.weights, { strategy: 'block', block_structure: [1, 16] })
  })
  expect(blocks()).toEqual(loadWeight(fixturePath('ct-group-4'), `${stem}.weight`))
  const higher = changed('ct-group-4', ({ config_groups: { group_0 } }) => {
    Object.assign(group_0.weights, { strategy: 'block', block_structure: [2, 16] })
  })
  expect(higher).toThrow(/weight_scale: needs F16 or BF16 or F32 \[16, 2\]/)
})
test('blocks of several rows share a scale', () => {
  // The scales [32, 2] of groups, of which blocks [2, 16] take the first 16 rows: two rows of the weight a row of them.
  const loaded = loadChanged('ct-group-4', `${stem}.weight`, (header, { quantization_config: config }) => {
    Object.assign(config.config_groups.group_0.weights, { strategy: 'block', block_structure: [2, 16] })
    for (const name of Object.keys(header).filter((name) => name.endsWith('.weight_scale'))) {
      const entry = header[name]!
      const [rows = 0, columns = 0] = entry.shape
      const [start = 0, end = 0] = entry.data_offsets
      entry.shape = [rows / 2, columns]
      entry.data_offsets = [start, (start + end) / 2]
      // The rest of the bytes goes to a tensor of its own, since a file has no holes.
      header[`rotary_emb.${name}`] = { ...entry, data_offsets: [(start + end) / 2, end] }
    }
  })
  const { codes, scales } = partsOfFixture('ct-group-4')
  const expected = codes.map((code, i) => {
    const [row, column] = [Math.floor(i / 32), i % 32]
    return code * scales[Math.floor(row / 2) * 2 + Math.floor(column / 16)]!
  })
  expect(loaded).toEqual(expected)
})
test.each([2 ** 31 - 1, 4, -2])('an order that names the group %i of 4 is refused by name', (group) => {
  const load = () =>
    loadChanged('ct-actorder', `${stem}.weight`, (header, _, data) => {
      data.writeInt32LE(group, header[`${stem}.weight_g_idx`]!.data_offsets[0]!)
    })
  expect(load).toThrow(FormatError)
  expect(load).toThrow(`${stem}.weight_g_idx: names a group past the last of 4`)
})
test('a width that both packings have is read by the version, and refused where the configuration names none', () => {
  // 3 bits of 12 codes are 2 words in either packing.
  const layer = (version: string | undefined) => () => {
    const tensors = [
      { name: 'a.weight_scale', type: 'F32', shape: [1, 1] },
      { name: 'a.weight_packed', type: 'I32', shape: [1, 2] },
      { name: 'a.weight_shape', type: 'I64', shape: [2] },
    ]
    const { head, size, tensors: placed } = layOut(tensors, {})
    const data = new Uint8Array(size)
    data.set(head)
    const parts: Record<string, ArrayBufferView> = {
      'a.weight_scale': Float32Array.of(1),
      'a.weight_packed': Int32Array.of(0x3fffffff, 0x3f),
      'a.weight_shape': BigInt64Array.of(1n, 12n),
    }
    for (const { name, offset } of placed) data.set(new Uint8Array(parts[name]!.buffer), offset)
    const config = readCompressedTensorsConfig({
      format: 'pack-quantized',
      version,
      config_groups: { g: group({ num_bits: 3, strategy: 'channel' }, 'Linear') },
    })
    const [found] = compressedTensorsLayers(openSources([bytesSource('m.safetensors', data)]), config)
    return numbers(decodeStored(found!.values(0, 1)))
  }
  // Words: 10 codes 7, then 2. Stream: bits 30 to 32 of code 10 are 0, 0, 1.
  expect(layer('0.17.1')()).toEqual(Array(12).fill(3))
  expect(layer('0.18.0')()).toEqual([...Array(10).fill(3), 0, 3])
  expect(layer(undefined)).toThrow(FormatError)
  expect(layer(undefined)).toThrow(/version of compressed-tensors must be as 0\.18\.0/)
})
test.each<[string, number, bigint, RegExp]>([
  ['begins elsewhere than its marks say', 3, 1n, /row 3 begins at value/],
  ['begins before the row above it', 3, -20n, /row 3 begins before the row above it/],
  ['begins past the last value', 31, 10n ** 6n, /begins before the row above it/],
])('a row of sparse-bitmask that %s is refused', (_, row, by, message) => {
  const load = () =>
    loadChanged('ct-sparse-bitmask', `${stem}.weight`, (header, __, data) => {
      const at = header[`${stem}.row_offsets`]!.data_offsets[0]! + 8 * row
      data.writeBigInt64LE(data.readBigInt64LE(at) + by, at)
    })
  expect(load).toThrow(FormatError)
  expect(load).toThrow(message)
})
test('a mark more than there are values is refused', () => {
  const load = () =>
    loadChanged('ct-sparse-bitmask', `${stem}.weight`, (header, _, data) => {
      const at = header[`${stem}.bitmask`]!.data_offsets[0]!
      // Row 1 of the fixture has no values.
      data[at + 4] = 1
    })
  expect(load).toThrow(FormatError)
  expect(load).toThrow(/row 2 begins at value/)
})
test('sparse tensors without a sparsity_config, and modules that no group names, are refused', () => {
  expect(changed('ct-sparse-24', (config) => void delete config.sparsity_config)).toThrow(/sparsity_config/)
  expect(changed('ct-group-4', ({ ignore }) => void ignore.push('re:.*up_proj'))).toThrow(
    `${stem}: is stored`,
  )
})
