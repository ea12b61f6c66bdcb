/**
 * What a level of a layer costs, in whole numbers for the allocation.
 *
 *   flops            multiplications of a sample: kept weights times uses
 *   bit operations   uses times all weights times the bits of a weight, half of it in 2:4      arXiv:2208.11580, section 6
 *   bytes            stored bits, rounded up to bytes
 *   timings          given seconds, rounded up to nanoseconds
 */
import type { IndexedLayer, IndexedLevel } from '../calibrate/level_index.ts'
import { groupWidth } from '../nn/grid.ts'
import { OptionError, printable } from '../tensor/errors.ts'

export type LevelCosts =
  | { readonly kind: 'flops' }
  /** Zeros that follow no pattern save nothing here: no unit skips them. */
  | { readonly kind: 'bit operations' }
  | { readonly kind: 'bytes' }
  /** Seconds by layer and level, from 0 on. */
  | { readonly kind: 'timings'; readonly seconds: Readonly<Record<string, Readonly<Record<string, number>>>> }

/** @throws OptionError for a level without a timing */
export function costOfLevel(costs: LevelCosts, layer: IndexedLayer, level: IndexedLevel): number {
  const [rows, columns] = layer.shape
  switch (costs.kind) {
    case 'flops':
      return level.kept * layer.uses
    case 'bit operations': {
      const all = rows * columns * layer.uses * bitsOfWeight(level)
      const { pattern } = level
      // Units multiply half of the weights in 2:4 and in no other pattern; a width that 4 does not divide is none of theirs.
      return pattern?.n === 2 && pattern.m === 4 && columns % 4 === 0 ? Math.ceil(all / 2) : all
    }
    case 'bytes':
      return Math.ceil(storedBits(layer, level) / 8)
    case 'timings': {
      const own = Object.hasOwn(costs.seconds, layer.name) ? costs.seconds[layer.name]! : {}
      const seconds = Object.hasOwn(own, level.level) ? own[level.level]! : Number.NaN
      if (seconds >= 0 && Number.isFinite(seconds)) return Math.ceil(seconds * 1e9)
      throw new OptionError(
        `timings: ${printable(layer.name)}, ${printable(level.level)} needs seconds from 0 on, got ${seconds}; measure it`,
        { facts: { layer: layer.name, level: level.level } },
      )
    }
  }
}

const bitsOfWeight = ({ form }: IndexedLevel): number =>
  form.kind === 'codes' ? form.bits : form.numberType === 'f16' ? 16 : 32

/** Bits in the database: mask, kept numbers or codes, scales, zeros of 8 bits. */
export function storedBits({ shape: [rows, columns] }: IndexedLayer, level: IndexedLevel): number {
  const { form, kept, masked } = level
  const mask = masked ? rows * Math.ceil(columns / 8) * 8 : 0
  if (form.kind === 'numbers') return mask + kept * bitsOfWeight(level)
  const groups = rows * Math.ceil(columns / groupWidth(form, columns))
  const scales = groups * (form.scaleType === 'f32' ? 32 : 16)
  return mask + kept * form.bits + scales + (form.symmetric ? 0 : 8 * groups)
}
