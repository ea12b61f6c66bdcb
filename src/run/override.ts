/** How single tensors are stored, whatever the steps say. */
import { type BlockTypeName, blockTypeNames } from '../nn/block_types.ts'
import type { AffineGrid } from '../nn/grid.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { checkValue, overrideSchema, pathText } from './option_fields.ts'
import type { ChosenTarget } from './targets.ts'
import { bitsOf, codedType, noBits, noGrid } from './weight_step.ts'

export interface Override {
  /** Pattern of the tensors that it is for: linear weights, embedding and head. */
  match: string
  /** A block type, or F32, F16 or BF16; for GGUF files and the target pare. */
  scheme?: string
  /** 2, 3, 4 or 8; where weights may differ: pare, mlx and compressed-tensors. */
  bits?: number
  /** Columns per scale; where weights may differ. */
  groupSize?: number | 'row'
  /** The zero stands in the middle of the codes; where weights may differ. */
  symmetric?: boolean
  /** The tensor stays as it is in the source; false takes back what an earlier override said. */
  keep?: boolean
  /** Where it stands, for messages: `recipe.yaml:9: overrides[0]`. */
  at?: string
}

export interface ResolvedOverride {
  match: string
  scheme?: BlockTypeName
  bits?: AffineGrid['bits']
  groupSize?: number | 'row'
  symmetric?: boolean
  keep?: boolean
  at: string
}

/** @throws OptionError for the first one that the target cannot follow. */
export const resolveOverrides = (overrides: readonly Override[], target: ChosenTarget): ResolvedOverride[] =>
  overrides.map(({ at, ...override }, index) =>
    resolveOverride(override, target, at ?? `overrides[${index}]`),
  )

const gridFields = ['bits', 'groupSize', 'symmetric'] as const

function resolveOverride(
  override: Omit<Override, 'at'>,
  { facts }: ChosenTarget,
  at: string,
): ResolvedOverride {
  const { match, scheme, bits, ...rest } = checkValue(
    overrideSchema,
    override,
    (path) => `${at}${path.length > 0 ? '.' : ''}${pathText(path)}`,
  ) as Override
  const asked = (['keep', 'scheme', ...gridFields] as const).filter((name) => override[name] !== undefined)
  if (asked.length === 0)
    throw new OptionError(
      `${at}: ${printable(match)} is matched and nothing is asked for; add scheme, bits, groupSize, symmetric or keep`,
    )
  if (asked.length > 1 && (asked[0] === 'keep' || asked[0] === 'scheme'))
    throw new OptionError(
      `${at}: ${asked[0]} and ${asked[1]} are both asked for, which cannot be; leave one out`,
    )
  if (facts.weights === 'blocks') {
    if (bits !== undefined) throw noBits(bits, `${at}.bits`, `${at}.scheme`)
    for (const field of ['groupSize', 'symmetric'] as const)
      if (rest[field] !== undefined) throw noGrid(`${at}.${field}`)
  }
  if (scheme !== undefined && facts.embedding.length === 0)
    throw new OptionError(
      `${at}.scheme: names types of GGUF files, which ${facts.title} does not hold; keep leaves a weight as it is`,
    )
  return {
    ...rest,
    match,
    ...(scheme === undefined ? {} : { scheme: codedType(scheme, blockTypeNames, `${at}.scheme`) }),
    ...(bits === undefined ? {} : { bits: bitsOf(bits, `${at}.bits`) }),
    at,
  }
}

/** `scheme Q5_K`, `3 bits, groups of 32`: what an override asks for. */
export function overrideText({ scheme, bits, groupSize, symmetric, keep }: ResolvedOverride): string {
  if (keep !== undefined) return keep ? 'as in the source' : 'not as in the source'
  if (scheme !== undefined) return scheme
  return [
    bits === undefined ? [] : `${bits} bits`,
    groupSize === undefined ? [] : groupSize === 'row' ? 'one group a row' : `groups of ${groupSize}`,
    symmetric === undefined ? [] : symmetric ? 'symmetric' : 'with zeros',
  ]
    .flat()
    .join(', ')
}
