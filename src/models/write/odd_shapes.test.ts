/** Layers of odd shapes, with one row or one group, written by each format and read again; and written once more. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { TensorArchive } from '../../formats/archive.ts'
import { bytesSource } from '../../formats/file.ts'
import { layOut } from '../../formats/safetensors/header.ts'
import { openSources } from '../../formats/safetensors/safetensors.ts'
import { type AffineGrid, type AffineValues, affineGrid, groupWidth, neighbourGroups } from '../../nn/grid.ts'
import { decodeStored, type StoredValues } from '../../nn/values/values.ts'
import { scope, tensor } from '../../tensor/index.ts'
import { numbers } from '../llama/fixtures.suite.ts'
import { awqLayers, readAwqConfig } from '../stored/awq_layers.ts'
import { readCompressedTensorsConfig } from '../stored/compressed_tensors_config.ts'
import { compressedTensorsLayers } from '../stored/compressed_tensors_layers.ts'
import { gptqLayers, readGptqConfig } from '../stored/gptq_layers.ts'
import { mlxLayers, readMlxConfig } from '../stored/mlx_layers.ts'
import type { StoredLayer } from '../stored/stored_layer.ts'
import { awqEncoding } from './awq_target.ts'
import { compressedTensorsEncoding } from './compressed_tensors_target.ts'
import { gptqEncoding } from './gptq_target.ts'
import type { CodedLayer, LayerEncoding } from './layer_encoding.ts'
import { mlxEncoding } from './mlx_target.ts'

type Layer = CodedLayer & { grid: AffineGrid }
type Read = (archive: TensorArchive, config: Record<string, unknown>) => StoredLayer[]

const part = (name: string) => (config: Record<string, unknown>) => config[name] as Record<string, unknown>
const quantization = part('quantization_config')
const formats: Record<string, { encoding: (grid: AffineGrid) => LayerEncoding; read: Read }> = {
  'compressed-tensors': {
    encoding: () => compressedTensorsEncoding,
    read: (archive, config) =>
      compressedTensorsLayers(archive, readCompressedTensorsConfig(quantization(config))),
  },
  gptq: {
    encoding: (grid) => gptqEncoding({ grid, actOrder: false }),
    read: (archive, config) => gptqLayers(archive, readGptqConfig(quantization(config))),
  },
  'gptq v2': {
    encoding: (grid) => gptqEncoding({ grid, actOrder: false, checkpointFormat: 'gptq_v2' }),
    read: (archive, config) => gptqLayers(archive, readGptqConfig(quantization(config))),
  },
  awq: {
    encoding: awqEncoding,
    read: (archive, config) => awqLayers(archive, readAwqConfig(quantization(config))),
  },
  mlx: {
    encoding: () => mlxEncoding,
    read: (archive, config) => mlxLayers(archive, readMlxConfig(part('quantization')(config))),
  },
}

/** Codes from a stream; scales are powers of two, so that no product is rounded. */
function valuesOf({ shape: [rows, columns], grid }: Layer, next: () => number): AffineValues {
  const width = groupWidth(grid, columns)
  const groups = columns / width
  const top = 2 ** grid.bits
  const codes = Uint8Array.from({ length: rows * columns }, () => next() % top)
  const scales = Float32Array.from({ length: rows * groups }, () => 2 ** ((next() % 9) - 4))
  // Version 1 of GPTQ cannot hold a zero of 0.
  const zeros = Uint8Array.from({ length: rows * groups }, () =>
    grid.symmetric ? top / 2 : 1 + (next() % (top - 1)),
  )
  return {
    kind: 'grid',
    grid,
    codes: tensor(codes, [rows, columns], 'u8'),
    scales: tensor(scales, [rows, groups]),
    zeros: tensor(zeros, [rows, groups], 'u8'),
    groupOf: neighbourGroups(columns, width),
  }
}

/** The file that holds the encoded layer alone. */
function fileOf(encoding: LayerEncoding, layer: Layer, values: StoredValues): Uint8Array {
  const { head, size, tensors } = layOut(encoding.tensors(layer), {})
  const data = new Uint8Array(size)
  data.set(head)
  const bytes = new Map(encoding.encode(layer, values).map(({ name, bytes }) => [name, bytes]))
  for (const { name, offset } of tensors) data.set(bytes.get(name)!, offset)
  return data
}

/** Written, read, and written again from what was read. */
function twice(format: string, layer: Layer, next: () => number) {
  const { encoding: of, read } = formats[format]!
  const encoding = of(layer.grid)
  return scope(() => {
    const values = valuesOf(layer, next)
    const data = fileOf(encoding, layer, values)
    const archive = openSources([bytesSource('m.safetensors', data)])
    const [found] = read(archive, encoding.configuration([layer], []))
    expect(found!.info).toMatchObject({ name: layer.name, shape: layer.shape })
    const [rows] = layer.shape
    const stored = found!.values(0, rows)
    return {
      expected: numbers(decodeStored(values)),
      found: numbers(decodeStored(stored)),
      last: numbers(decodeStored(found!.values(rows - 1, rows))),
      data,
      again: fileOf(encoding, layer, stored),
    }
  })
}

const name = 'model.layers.0.mlp.up_proj.weight'
const cases: [string, [number, number], Partial<AffineGrid>][] = [
  ...([2, 3, 4, 8] as const).flatMap((bits): [string, [number, number], Partial<AffineGrid>][] => [
    ['compressed-tensors', [1, 20], { bits, groupSize: 'row' }],
    ['compressed-tensors', [5, 33], { bits, groupSize: 11 }],
    ['compressed-tensors', [1, 1], { bits, groupSize: 'row', symmetric: true }],
    ['gptq', [32, 32], { bits, groupSize: 'row' }],
    ['gptq', [32, 96], { bits, groupSize: 16, symmetric: true }],
    ['gptq v2', [32, 64], { bits, groupSize: 32 }],
    ['mlx', [1, 32], { bits, groupSize: 32, symmetric: true }],
    ['mlx', [3, 192], { bits, groupSize: 64 }],
  ]),
  ['awq', [8, 1], { groupSize: 'row' }],
  ['awq', [8, 21], { groupSize: 7 }],
  ['awq', [24, 5], { groupSize: 1 }],
]
test.each(cases)('%s %j %j: codes come back, and are written again as they were', (format, shape, grid) => {
  let state = 1
  const next = () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return state >>> 8
  }
  const { expected, found, last, data, again } = twice(format, { name, shape, grid: affineGrid(grid) }, next)
  expect(found).toEqual(expected)
  expect(last).toEqual(expected.slice(-shape[1]))
  expect(again).toEqual(data)
})

describe('any shape of compressed-tensors', () => {
  const layers = fc.record({
    rows: fc.integer({ min: 1, max: 40 }),
    groups: fc.integer({ min: 1, max: 4 }),
    width: fc.integer({ min: 1, max: 40 }),
    bits: fc.constantFrom(2 as const, 3 as const, 4 as const, 8 as const),
    symmetric: fc.boolean(),
  })
  test('comes back, with its own bytes the second time', () => {
    fc.assert(
      fc.property(
        layers,
        fc.infiniteStream(fc.nat(65535)),
        ({ rows, groups, width, bits, symmetric }, stream) => {
          const grid = affineGrid({ bits, groupSize: width, symmetric })
          const layer: Layer = { name, shape: [rows, groups * width], grid }
          const { expected, found, data, again } = twice(
            'compressed-tensors',
            layer,
            () => stream.next().value as number,
          )
          expect(found).toEqual(expected)
          expect(again).toEqual(data)
        },
      ),
      { numRuns: 60 },
    )
  })
})
