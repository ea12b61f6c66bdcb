/** Codes on evenly spaced levels, whatever stores them: what one format holds as such and another can take over. */
import { blockCodes, EVEN_BLOCK, evenTypes, isEvenType } from '../../formats/gguf/block_codes.ts'
import { isSuperType, superBlockCodes } from '../../formats/gguf/super_block_codes.ts'
import {
  type AffineValues,
  type BlockValues,
  type GridForm,
  groupWidth,
  neighbourGroups,
} from '../../nn/grid.ts'
import type { OffsetValues } from '../../nn/values/offset_grid.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { bytesOf, fromBytes, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { gridRows } from '../stored/stored_layer.ts'

export type Levels = AffineValues | OffsetValues

/** The codes with their scales, and zeros or offsets; nothing where levels are not evenly spaced. Values are equal. */
export function levelsOf(values: StoredValues): Levels | undefined {
  if (values.kind === 'grid' || values.kind === 'offset') return values
  if (values.kind !== 'blocks') return undefined
  if (isEvenType(values.type)) return evenLevels(values)
  return isSuperType(values.type) ? superLevels(values) : undefined
}

/** The form of the codes; of an offset grid without symmetry. */
export const formOfLevels = (levels: Levels): GridForm =>
  levels.kind === 'grid' ? levels.grid : { ...levels.form, symmetric: false }

function evenLevels({ type, shape: [rows, columns], bytes }: BlockValues): Levels {
  return scope(() => {
    const name = type as keyof typeof evenTypes
    const { codes, scales, offsets } = blockCodes(name, bytes.bytes())
    const { bits } = evenTypes[name]
    const groups = columns / EVEN_BLOCK
    const numbers = (halves: Uint16Array) => fromBytes(bytesOf(halves), [rows, groups], 'f16').cast('f32')
    const parts = {
      codes: tensor(codes, [rows, columns], 'u8'),
      scales: numbers(scales),
      groupOf: neighbourGroups(columns, EVEN_BLOCK),
    }
    const form = { bits, groupSize: EVEN_BLOCK, scaleType: 'f16' } as const
    if (offsets) return { kind: 'offset', form, ...parts, offsets: numbers(offsets) }
    const zeros = tensor(new Uint8Array(rows * groups).fill(2 ** (bits - 1)), [rows, groups], 'u8')
    return { kind: 'grid', grid: { ...form, symmetric: true }, ...parts, zeros }
  })
}

/** Scales and mins of a sub-block are products of two stored numbers, which need more than a half. */
function superLevels({ type, shape: [rows, columns], bytes }: BlockValues): Levels {
  return scope(() => {
    const name = type as Parameters<typeof superBlockCodes>[0]
    const { codes, scales, mins, bits, width } = superBlockCodes(name, bytes.bytes())
    const groups = columns / width
    const parts = {
      codes: tensor(codes, [rows, columns], 'u8'),
      scales: tensor(scales, [rows, groups]),
      groupOf: neighbourGroups(columns, width),
    }
    const form = { bits, groupSize: width, scaleType: 'f32' } as const
    if (mins) return { kind: 'offset', form, ...parts, offsets: tensor(mins, [rows, groups]).neg() }
    const zeros = tensor(new Uint8Array(rows * groups).fill(2 ** (bits - 1)), [rows, groups], 'u8')
    return { kind: 'grid', grid: { ...form, symmetric: true }, ...parts, zeros }
  })
}

/** Some rows; the parts of all rows stay where they are. */
export function rowsOfLevels(levels: Levels, start: number, end: number): Levels {
  if (levels.kind === 'grid') return gridRows(levels, start, end)
  const part = (x: Tensor) => x.slice(0, start, end).contiguous()
  const { codes, scales, offsets } = levels
  return { ...levels, codes: part(codes), scales: part(scales), offsets: part(offsets) }
}

/**
 * The same values in narrower groups, whose scales repeat.
 *
 * @param width of a group; it divides that of the levels, whose groups are neighbours
 */
export function inGroups(levels: Levels, width: number): Levels {
  const columns = levels.codes.extent(1)
  const form = formOfLevels(levels)
  const times = groupWidth(form, columns) / width
  if (times === 1) return levels
  return scope(() => {
    const repeated = <T extends Levels['scales']>(x: T) => {
      const [rows, groups] = x.shape as [number, number]
      const all = x.toArray()
      const wide = all.slice(0, 0).constructor as new (length: number) => typeof all
      const copies = new wide(rows * groups * times)
      for (let i = 0; i < copies.length; i++) copies[i] = all[Math.floor(i / times)]!
      return tensor(copies as Float32Array, [rows, groups * times], x.dtype)
    }
    const groupOf = neighbourGroups(columns, width)
    const { codes } = levels
    const scales = repeated(levels.scales)
    return levels.kind === 'grid'
      ? {
          ...levels,
          grid: { ...levels.grid, groupSize: width },
          codes,
          scales,
          zeros: repeated(levels.zeros),
          groupOf,
        }
      : {
          ...levels,
          form: { ...levels.form, groupSize: width },
          codes,
          scales,
          offsets: repeated(levels.offsets),
          groupOf,
        }
  })
}
