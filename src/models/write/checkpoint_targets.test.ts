/** Checkpoints of AWQ, compressed-tensors and MLX: what is written is what was decided. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { affineGrid } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import { distance, numbers } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { planAwq } from './awq_target.ts'
import type { CheckpointOptions } from './checkpoint_target.ts'
import { planCompressedTensors } from './compressed_tensors_target.ts'
import { planMlx } from './mlx_target.ts'
import { differences, reopened, rounded, sizeOf, writeAll, writeWideModel } from './sources.suite.ts'
import { folderSource } from './target.ts'

let folder: string
let wide: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'checkpoint-targets-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide')))
})
afterAll(() => {
  wide.close()
  rmSync(folder, { recursive: true })
})

const planners = { awq: planAwq, 'compressed-tensors': planCompressedTensors, mlx: planMlx }
type Format = keyof typeof planners
const exact: [string, Format, CheckpointOptions][] = [
  ['AWQ', 'awq', { grid: affineGrid({ groupSize: 32 }) }],
  ['AWQ with one group a row', 'awq', { grid: affineGrid({ groupSize: 'row' }) }],
  ['AWQ in the middle', 'awq', { grid: affineGrid({ groupSize: 64, symmetric: true }) }],
  ...([2, 3, 4, 8] as const).flatMap((bits): [string, Format, CheckpointOptions][] => [
    [`compressed-tensors ${bits} bits`, 'compressed-tensors', { grid: affineGrid({ bits, groupSize: 32 }) }],
    [
      `compressed-tensors ${bits} bits in the middle`,
      'compressed-tensors',
      { grid: affineGrid({ bits, groupSize: 'row', symmetric: true }) },
    ],
    [`MLX ${bits} bits in the middle`, 'mlx', { grid: affineGrid({ bits, groupSize: 64, symmetric: true }) }],
  ]),
]

test.each(exact)(
  '%s: the folder holds what the sweep decided, bit for bit, and has the planned size',
  (name, format, options) => {
    const target = join(folder, name)
    const plan = planners[format](folderSource(wide), options)
    const decided = writeAll(wide, plan, {}, target)
    expect(sizeOf(join(target, 'model.safetensors'))).toBe(plan.fileBytes)
    reopened(target, (open) => {
      expect(open.format).toBe(format)
      for (const [part, values] of decided)
        expect(differences(numbers(open.weights.load(part)), values)).toBe(0)
      for (const { name: part, role, type, bytes } of plan.tensors) {
        expect(open.weights.infos.get(part)!.bytes).toBe(bytes)
        if (role !== 'matrix')
          expect(differences(numbers(open.weights.load(part)), rounded(wide.weights.load(part), type))).toBe(
            0,
          )
      }
    })
  },
)
test.each([2, 3, 4, 8] as const)(
  'MLX %s bits: biases of other zeros are rounded to a half, and nothing else is',
  (bits) => {
    const target = join(folder, `offset-${bits}`)
    const plan = planMlx(folderSource(wide), { grid: affineGrid({ bits, groupSize: 64 }) })
    const decided = writeAll(wide, plan, {}, target)
    reopened(target, ({ weights }) => {
      // A bias reaches the largest value of its group at most, and a half is within 2^-11 of it.
      for (const [part, values] of decided)
        expect(distance(numbers(weights.load(part)), values)).toBeLessThan(2 ** -11)
    })
  },
)

describe('layers that differ', () => {
  const other = 'model.layers.0.mlp.up_proj.weight'
  const kept = 'model.layers.0.mlp.down_proj.weight'
  const grid = affineGrid({ groupSize: 64, symmetric: true })
  const choices = new Map([
    [other, { grid: affineGrid({ bits: 8, groupSize: 32, symmetric: true }), by: 'overrides[0]' }],
    [kept, { keep: true, by: 'overrides[1]' }],
  ])
  test.each(['compressed-tensors', 'mlx'] as const)('are told apart in the configuration of %s', (format) => {
    const target = join(folder, `mixed-${format}`)
    const decided = writeAll(wide, planners[format](folderSource(wide), { grid, choices }), {}, target)
    reopened(target, ({ weights }) => {
      for (const [part, values] of decided) expect(differences(numbers(weights.load(part)), values)).toBe(0)
      expect(differences(numbers(weights.load(kept)), numbers(wide.weights.load(kept)))).toBe(0)
    })
  })
  test('are refused where the format has one grid', () => {
    expect(() => planAwq(folderSource(wide), { grid, choices })).toThrow(
      /overrides\[0\]: an AWQ checkpoint has one/,
    )
  })
})

describe('what a format cannot hold is refused with what would fit:', () => {
  test.each<[string, () => unknown, RegExp]>([
    [
      'AWQ of 3 bits',
      () => planAwq(folderSource(wide), { grid: affineGrid({ bits: 3 }) }),
      /AWQ checkpoint needs 4 bits/,
    ],
    [
      'MLX with groups of 16',
      () => planMlx(folderSource(wide), { grid: affineGrid({ groupSize: 16 }) }),
      /groups of 32, 64, 128/,
    ],
    [
      'groups that do not divide',
      () => planCompressedTensors(folderSource(wide), { grid: affineGrid({ groupSize: 48 }) }),
      /--group-size 48: .* choose 16/,
    ],
  ])('%s', (_, plan, message) => {
    expect(plan).toThrow(OptionError)
    expect(plan).toThrow(message)
  })
})

test('configurations have the fields that the runtimes ask for', () => {
  const config = (name: string) => JSON.parse(readFileSync(join(folder, name, 'config.json'), 'utf8'))
  const written = (name: string, format: Format, options: CheckpointOptions) => {
    writeAll(wide, planners[format](folderSource(wide), options), {}, join(folder, name))
    return config(name)
  }
  const grid = affineGrid({ groupSize: 64 })
  expect(written('config-awq', 'awq', { grid }).quantization_config).toEqual({
    quant_method: 'awq',
    bits: 4,
    group_size: 64,
    zero_point: true,
    version: 'gemm',
    modules_to_not_convert: ['lm_head'],
  })
  const packed = written('config-ct', 'compressed-tensors', { grid }).quantization_config
  expect(packed).toMatchObject({
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    ignore: ['lm_head'],
  })
  expect(packed.config_groups.group_0).toMatchObject({
    targets: ['Linear'],
    weights: {
      num_bits: 4,
      type: 'int',
      symmetric: false,
      strategy: 'group',
      group_size: 64,
      actorder: null,
    },
  })
  const mlx = written('config-mlx', 'mlx', { grid })
  expect(mlx.quantization).toEqual({ group_size: 64, bits: 4, mode: 'affine' })
  expect(mlx.quantization_config).toEqual(mlx.quantization)
})
