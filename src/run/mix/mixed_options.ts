/** The options that a mix comes to: the same without a size, with an override for each matrix. */
import type { CompressOptions, ResolvedCompressOptions } from '../compress_options.ts'
import type { Recipe } from '../recipe.ts'
import { resolvedRecipe } from '../recipe_options.ts'
import { type MixChoice, type MixSpace, overridesOf } from './mix_space.ts'

export function mixedOptions(
  options: ResolvedCompressOptions,
  space: MixSpace,
  chosen: readonly MixChoice[],
): ResolvedCompressOptions {
  const { targetSize: _, targetBpw: __, ...limits } = options.limits
  return {
    ...options,
    limits,
    mix: undefined,
    overrides: [...options.overrides, ...overridesOf(space, chosen)],
  }
}

/** What gives the same bytes again, wherever it runs and its result goes. */
export function mixedRecipe(options: ResolvedCompressOptions): Recipe {
  const {
    output: _,
    overwrite: __,
    restart: ___,
    scratch: ____,
    offline: _____,
    ...recipe
  } = resolvedRecipe(options)
  return recipe
}

/** What is typed, where a recipe beside it names each matrix. */
export const withoutSize = ({
  levels: _,
  sensitivity: __,
  sensitivityWindows: ___,
  limits: { targetSize: ____, targetBpw: _____, ...limits } = {},
  ...options
}: CompressOptions): CompressOptions => ({ ...options, limits })
