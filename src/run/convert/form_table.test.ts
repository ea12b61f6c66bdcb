/** The table of docs/command_line.md that says which codes other formats can hold. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { numbersBelow } from '../../formats/mulberry32.suite.ts'
import { formFor } from '../../models/regrid/common_form.ts'
import { factsOf } from '../../models/regrid/level_facts.ts'
import { levelTargets } from '../../models/regrid/level_targets.ts'
import { type Levels, levelsOf } from '../../models/regrid/levels.ts'
import { regrid } from '../../models/regrid/regrid.ts'
import { type CodedTypeName, codedTypeNames } from '../../nn/block_types.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import { type GridForm, groupWidth, neighbourGroups } from '../../nn/grid.ts'
import { decodeStored } from '../../nn/values/values.ts'
import { randomStream, scope, tensor } from '../../tensor/index.ts'

const below = numbersBelow(5)
const [rows, columns] = [4, 512]
const drawn = (count: number, draw: () => number) => Float32Array.from({ length: count }, draw)

/** Weights as they come, rounded to the type. */
function blocks(type: CodedTypeName): Levels | undefined {
  const weights = randomStream(1, type).normal([rows, columns]).mul(0.05)
  return levelsOf(columnSweep(weights, { grid: { kind: 'blocks', type } }).values)
}

interface Made extends Omit<GridForm, 'scaleType' | 'symmetric'> {
  zeros: 'middle' | 'anywhere' | 'offsets'
  sorted?: boolean
}

function made({ bits, groupSize, zeros, sorted = false }: Made): Levels {
  const width = groupWidth({ groupSize }, columns)
  const groups = columns / width
  const half = (count: number) =>
    scope(() =>
      tensor(
        drawn(count, () => (1 + below(2 ** 20)) * 2 ** -24),
        [rows, groups],
      )
        .cast('f16')
        .cast('f32'),
    )
  const neighbours = neighbourGroups(columns, width)
  const parts = {
    codes: tensor(
      drawn(rows * columns, () => below(2 ** bits)),
      [rows, columns],
      'u8',
    ),
    scales: half(rows * groups),
    groupOf: sorted
      ? neighbours
          .toReversed()
          .with(0, neighbours[0]!)
          .with(columns - 1, neighbours.at(-1)!)
      : neighbours,
  }
  const form = { bits, groupSize, scaleType: 'f16' } as const
  if (zeros === 'offsets') return { kind: 'offset', form, ...parts, offsets: half(rows * groups) }
  const middle = 2 ** (bits - 1)
  const drawnZeros = drawn(rows * groups, () => (zeros === 'middle' ? middle : below(2 ** bits)))
  return {
    kind: 'grid',
    grid: { ...form, symmetric: zeros === 'middle' },
    ...parts,
    zeros: tensor(drawnZeros, [rows, groups], 'u8'),
  }
}

const sources: readonly (readonly [string, Levels | undefined, CodedTypeName?])[] = [
  ...codedTypeNames.map((type) => [type, blocks(type), type] as const),
  ['GPTQ, 4 bits, symmetric', made({ bits: 4, groupSize: 128, zeros: 'middle' })],
  ['GPTQ or AWQ, 4 bits with zeros', made({ bits: 4, groupSize: 128, zeros: 'anywhere' })],
  ['GPTQ, 4 bits, sorted columns', made({ bits: 4, groupSize: 128, zeros: 'anywhere', sorted: true })],
  ['GPTQ, 3 bits with zeros', made({ bits: 3, groupSize: 128, zeros: 'anywhere' })],
  ['GPTQ, 2 bits with zeros, groups of 16', made({ bits: 2, groupSize: 16, zeros: 'anywhere' })],
  ['compressed-tensors, 8 bits, a scale a row', made({ bits: 8, groupSize: 'row', zeros: 'middle' })],
  ['MLX, 4 bits', made({ bits: 4, groupSize: 64, zeros: 'offsets' })],
  ['MLX, 8 bits', made({ bits: 8, groupSize: 64, zeros: 'offsets' })],
]

const formats = ['gguf', 'gptq_v2', 'awq', 'compressed-tensors', 'mlx'] as const
const numbers = (levels: Parameters<typeof decodeStored>[0]) =>
  scope(() => decodeStored(levels).toArray()) as Float32Array

/** What a conversion makes of the codes, found by making it. */
function cell(levels: Levels | undefined, format: (typeof formats)[number], own?: CodedTypeName): string {
  if (format === 'gguf' && own) return 'lossless'
  const facts = levels && factsOf(levels, own?.endsWith('_K'))
  const found = facts && formFor(facts, levelTargets[format])
  if (!found) return '—'
  const { form } = found
  const [before, after] = [numbers(levels!), numbers(regrid(levels!, form))]
  const isEqual = after.every((value, i) => value === before[i])
  expect(isEqual || !found.exact).toBe(true)
  const type =
    form.kind === 'blocks' ? form.type : form.bits === facts!.bits ? undefined : `${form.bits} bits`
  return [isEqual ? 'lossless' : 'codes kept', ...(type ? [type] : [])].join(', ')
}

test('the page says what a conversion does with the codes of every kind of weight', () => {
  const table = scope(() => [
    '| from | GGUF | GPTQ | AWQ | compressed-tensors | MLX |',
    '| --- | --- | --- | --- | --- | --- |',
    ...sources.map(
      ([name, levels, own]) =>
        `| ${name} | ${formats.map((format) => cell(levels, format, own)).join(' | ')} |`,
    ),
  ])
  const page = readFileSync(new URL('../../../docs/command_line.md', import.meta.url), 'utf8')
  const lines = page.split('\n')
  const start = lines.indexOf(table[0]!)
  expect(lines.slice(start, start + table.length)).toEqual(table)
})
