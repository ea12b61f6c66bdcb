/** What a recipe asks for one tensor, in place of what its target would do. */
import type { PareWeight } from '../../formats/pare_weight.ts'
import type { BlockTypeName } from '../../nn/block_types.ts'
import type { AffineGrid } from '../../nn/grid.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import type { WeightInfo } from '../model_weights.ts'
import type { MixScheme } from './gguf_mix.ts'

/** One of the seven. */
export interface TensorChoice {
  /** Stored as the source has it. */
  readonly keep?: boolean
  /** A block type, or a type of plain numbers. */
  readonly scheme?: BlockTypeName
  /** The type that a mix gives this tensor. */
  readonly mix?: MixScheme
  /** Evenly spaced levels. */
  readonly grid?: AffineGrid
  /** Codes that are there already, as they are put together: nothing is rounded to them. */
  readonly described?: PareWeight
  /** How a method will put it together; what data decides is about so large. */
  readonly made?: PareWeight
  /** Plain numbers of this type, whatever the source has. */
  readonly numbers?: FloatType
  /** Who asks, for messages: `overrides[0]`. */
  readonly by: string
}

export type TensorChoices = ReadonlyMap<string, TensorChoice>

const floatBytes = { F32: 4, F16: 2, BF16: 2 } as const
export type FloatType = keyof typeof floatBytes
export const isFloatType = (type: string): type is FloatType => Object.hasOwn(floatBytes, type)

/** Type and bytes of a tensor that is stored as numbers of a type. */
export const asNumbers = (shape: readonly number[], type: FloatType): { type: FloatType; bytes: number } => ({
  type,
  bytes: shape.reduce((a, b) => a * b, 1) * floatBytes[type],
})

/**
 * Type and bytes of a tensor that is stored as the numbers it is in the source.
 *
 * @throws OptionError where the source has it in a type that is no plain float.
 */
export function keptNumbers(
  { name, type, shape }: WeightInfo,
  by: string,
  target: string,
): { type: FloatType; bytes: number } {
  if (!isFloatType(type)) {
    throw new OptionError(
      `${by}: ${printable(name)} is ${printable(type)} in the source, and ${target} keeps F32, F16 and BF16 as they are; let a step compress it, or choose --target gguf where the source is a GGUF file`,
      { code: 'PARE_E_KEEP', facts: { tensor: name, type } },
    )
  }
  return asNumbers(shape, type)
}
