/**
 * The forms in which a format can hold the codes of a weight. A format has evenly spaced levels of some bits, with
 * zeros, with offsets, or as block types.
 *
 *   grid     scale * (code - zero)       as they are; or with the zero in the middle: code - zero + 2^(bits - 1)
 *   offset   scale * code + offset       offset = -scale * zero, which may be rounded
 *   blocks   Q4_0, Q5_0, Q8_0: zero in the middle, Q4_1, Q5_1: offsets; 32 columns a scale
 */
import { EVEN_BLOCK, type EvenType, evenTypes } from '../../formats/gguf/block_codes.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import { rowBytes } from '../../nn/block_types.ts'
import type { LevelFacts, ScaleType } from './level_facts.ts'

/** What codes become in another format. */
export type LevelForm = PareWeight & { kind: 'grid' | 'offset' | 'blocks' }

/** What a format can hold. */
export interface LevelTarget {
  kind: LevelForm['kind']
  /** Bits of a code. */
  bits: readonly number[]
  /** Columns of groups. @default any that divide the rows */
  widths?: readonly (number | 'row')[]
  /** Bits of codes whose zeros may be elsewhere than in the middle. @default all */
  zeroBits?: readonly number[]
  /** Smallest zero that is not in the middle. @default 0 */
  zeroLow?: 0 | 1
  /** Types of scales. */
  scaleTypes: readonly ScaleType[]
  /** Columns of a group need not be neighbours. */
  sorted?: boolean
  /** A zero in the middle is not stored. */
  omitsZeros?: boolean
  /** Block types, of `blocks`. */
  types?: readonly EvenType[]
}

export interface Candidate {
  form: LevelForm
  /** Every value stays as it is. */
  exact: boolean
  /** Stored bits of one weight. */
  bitsPerWeight: number
}

/** No level may move farther than this part of a step: farther, and rounding again would be nearer. */
const FARTHEST = 1 / 8

/**
 * Every form of the target that keeps the codes, the smallest first, of equals those that keep every value.
 *
 * @example candidatesOf(facts, { kind: 'grid', bits: [4], scaleTypes: ['f16'] })
 */
export function candidatesOf(facts: LevelFacts, target: LevelTarget): Candidate[] {
  const found = target.kind === 'blocks' ? blocksOf(facts, target) : stepsOf(facts, target)
  return found.toSorted((a, b) => a.bitsPerWeight - b.bitsPerWeight || Number(b.exact) - Number(a.exact))
}

/** Lowest and highest level of the codes, counted from the zero. */
function levelRange({ zeros, bits }: LevelFacts): readonly [number, number] | undefined {
  return zeros && [-zeros.most, 2 ** bits - 1 - zeros.least]
}

/** Codes with the zero in the middle of so many bits hold all levels. */
const fitsMiddle = (facts: LevelFacts, bits: number): boolean => {
  const range = levelRange(facts)
  return range !== undefined && range[0] >= -(2 ** (bits - 1)) && range[1] < 2 ** (bits - 1)
}

export const isMiddle = ({ zeros, bits }: LevelFacts): boolean =>
  zeros !== undefined && zeros.least === zeros.most && zeros.least === 2 ** (bits - 1)

function stepsOf(facts: LevelFacts, target: LevelTarget): Candidate[] {
  const { shape, sorted, scaleShift, offsetShift, zeros } = facts
  const groupSize = sizeOf(facts, target)
  if (groupSize === undefined || (sorted && !(target.sorted && groupSize === facts.width))) return []
  const width = groupSize === 'row' ? shape[1] : groupSize
  return target.bits
    .filter((bits) => bits >= facts.bits)
    .flatMap((bits) =>
      scaleTypesOf(facts, target).flatMap((scaleType): Candidate[] => {
        const base = { shape: [...shape] as [number, number], bits, groupSize, scaleType, sorted }
        const perGroup = scaleType === 'f32' ? 32 : 16
        const sized = (form: LevelForm, extra: number, shift: number): Candidate[] => {
          const moved = Math.max(scaleShift[scaleType], shift)
          // A product and a sum are rounded apart where scales are wide, the product of a difference once.
          const apart = facts.kind !== form.kind && scaleType === 'f32' && scaleShift.f16 > 0
          const bitsPerWeight = bits + (perGroup + extra) / width
          return moved > FARTHEST ? [] : [{ form, exact: moved === 0 && !apart, bitsPerWeight }]
        }
        if (target.kind === 'offset')
          return sized(
            { kind: 'offset', ...base },
            perGroup,
            recentred(facts, bits) ? zeros!.shift : offsetShift[scaleType],
          )
        if (!zeros || zeros.most >= 2 ** bits) return []
        const symmetric = isMiddle(facts)
        if (!symmetric && (target.zeroBits?.includes(bits) === false || zeros.least < (target.zeroLow ?? 0)))
          return []
        return sized(
          { kind: 'grid', ...base, symmetric },
          symmetric && target.omitsZeros ? 0 : bits,
          zeros.shift,
        )
      }),
    )
}

/** The widest groups of the target that those of the weight are made of. */
function sizeOf(
  { shape: [, columns], width }: LevelFacts,
  { widths }: LevelTarget,
): number | 'row' | undefined {
  if (!widths) return width === columns ? 'row' : width
  if (width === columns && widths.includes('row')) return 'row'
  const sizes = widths.filter((size) => size !== 'row').toSorted((a, b) => b - a)
  return sizes.find((size) => width % size === 0 && columns % size === 0)
}

/** A grid in an offset grid of more bits gets its zero in the middle, whose offset no rounding moves. */
export const recentred = (facts: LevelFacts, bits: number): boolean =>
  bits !== facts.bits && facts.kind === 'grid' && fitsMiddle(facts, bits)

/** The type of the source where the target has it; of scales that are products, halves and what holds them. */
function scaleTypesOf(
  { scaleType, scaleShift, derived }: LevelFacts,
  { scaleTypes }: LevelTarget,
): ScaleType[] {
  if (derived) return scaleTypes.filter((type) => type !== 'bf16')
  if (scaleTypes.includes(scaleType)) return [scaleType]
  return [scaleTypes.find((type) => scaleShift[type] === 0) ?? scaleTypes[0]!]
}

function blocksOf(facts: LevelFacts, { types = [] }: LevelTarget): Candidate[] {
  const { shape, sorted, width, zeros, scaleShift, offsetShift } = facts
  if (sorted || width % EVEN_BLOCK !== 0 || shape[1] % EVEN_BLOCK !== 0) return []
  return types.flatMap((type): Candidate[] => {
    const { bits, ...layout } = evenTypes[type]
    const hasOffset = 'm' in layout
    if (hasOffset ? bits < facts.bits : !fitsMiddle(facts, bits)) return []
    const isOffset = hasOffset && !recentred(facts, bits)
    const shift = Math.max(scaleShift.f16, isOffset ? offsetShift.f16 : zeros!.shift)
    if (shift > FARTHEST) return []
    const bitsPerWeight = (8 * rowBytes(type, EVEN_BLOCK)) / EVEN_BLOCK
    return [{ form: { kind: 'blocks', type, shape: [...shape] }, exact: shift === 0, bitsPerWeight }]
  })
}
