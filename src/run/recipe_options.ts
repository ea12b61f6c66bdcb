/** From a recipe to the options of a compression, and back. */
import type { AffineGrid } from '../nn/grid.ts'
import { sizeText } from './byte_size.ts'
import type { CompressOptions, ResolvedCompressOptions } from './compress_options.ts'
import type { Limits } from './limits.ts'
import { checkValue, pathText } from './option_fields.ts'
import type { Override } from './override.ts'
import { type Recipe, recipeSchema, recipeVersion } from './recipe.ts'
import { readRecipe } from './recipe_file.ts'
import { flattenSteps, type Place } from './recipe_steps.ts'
import { stepMethod } from './step_methods.ts'
import { isDefaultFormat } from './targets.ts'
import { type ResolvedStep, type ResolvedTransform, sharedFields } from './weight_step.ts'

/**
 * The options that a recipe stands for: `compress(fromRecipe('smaller.yaml'))`. What is said beside them wins.
 *
 * `recipe` is a recipe or the path of a `.yaml`, `.yml` or `.json` file. `source` and `output` are empty where the
 * recipe has none. `threads` of a recipe is for the command line only.
 *
 * @throws OptionError for a file that cannot be read, and for what is not valid in it.
 * @example await compress({ ...fromRecipe('smaller.yaml'), output: 'other' })
 */
export function fromRecipe(recipe: string | Recipe): CompressOptions {
  const { threads: _, ...options } = recipeOptions(recipe)
  return options
}

/** The same with the threads. */
export function recipeOptions(recipe: string | Recipe): CompressOptions & { threads?: number } {
  if (typeof recipe === 'string') {
    const { value, place } = readRecipe(recipe)
    return optionsOf(value, place)
  }
  return optionsOf(recipe, pathText)
}

function optionsOf(value: unknown, place: Place): CompressOptions & { threads?: number } {
  const checked = checkValue(recipeSchema, value, (path, key) =>
    path.length > 0 ? place(path, key) : `${place([], key).replace(/: $/, '')}`,
  )
  const {
    pare: _,
    source,
    output,
    calibration,
    evaluation,
    steps,
    overrides,
    limits,
    shardSize,
    ...rest
  } = checked
  const { files, ...samples } = calibration ?? {}
  const { files: text, ...windows } = evaluation || {}
  return given({
    ...rest,
    source: source ?? '',
    // The schema has read the text of a size.
    shardSize: shardSize as number | undefined,
    output: output ?? '',
    ...samples,
    calibration: files,
    ...windows,
    text,
    evaluate: evaluation === false ? false : undefined,
    steps: steps === undefined ? undefined : flattenSteps(steps, place),
    overrides: overrides?.map(
      (override, i): Override => ({
        ...(given(override) as Override),
        at: place(['overrides', i]),
      }),
    ),
    limits: limits as Limits | undefined,
  })
}

/** A record without the fields that are undefined. */
function given<Fields extends object>(fields: Fields): Given<Fields> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as Given<Fields>
}
type Given<Fields> = {
  [Name in keyof Fields as undefined extends Fields[Name] ? never : Name]: Fields[Name]
} & {
  [Name in keyof Fields as undefined extends Fields[Name] ? Name : never]?: Exclude<Fields[Name], undefined>
}

/** A recipe with every default filled in, which asks for the same again. */
export function resolvedRecipe(options: ResolvedCompressOptions): Recipe {
  const { source, output, overwrite, restart, target, seed, embedding, fallback, trueSequential } = options
  const { imatrix, format, activations } = options
  const { calibration, samples, length, evaluate, text, context, windows, every } = options
  const { maxMemory, targetSize, ...limits } = options.limits
  const sizes = given({
    maxMemory: maxMemory === undefined ? undefined : sizeText(maxMemory),
    targetSize: targetSize === undefined ? undefined : sizeText(targetSize),
  })
  return given({
    pare: recipeVersion,
    source,
    output: output === '' ? undefined : output,
    overwrite,
    restart,
    target,
    format: isDefaultFormat(target, format) ? undefined : format,
    seed,
    embedding,
    activations,
    fallback,
    shardSize: options.shardSize === undefined ? undefined : sizeText(options.shardSize),
    imatrix,
    trueSequential,
    calibration: given({ files: calibration, samples, length }),
    evaluation: evaluate ? given({ files: text, context, windows, every }) : (false as const),
    steps: [...options.transforms.map(transformOf), ...options.steps.map(stepOf)],
    overrides: options.overrides.map(({ at: _, ...override }) => override),
    limits: { ...sizes, ...limits },
    sideBySide: options.sideBySide,
    speed: options.speed,
    baselines: options.baselines,
    verify: options.verify,
    levels: options.mix?.levels,
    sensitivity: options.mix?.sensitivity,
    sensitivityWindows: options.mix?.windows,
    scratch: options.scratch,
    offline: options.offline,
    probe: options.probe,
  })
}

const transformOf = ({ method, own }: ResolvedTransform) => ({ method, ...own })

function stepOf(step: ResolvedStep) {
  const { method, scheme, grid, own, only } = step
  const facts = stepMethod(method)
  // What a method does not read must not be said to it.
  const searches = facts.kind !== 'quantizer' || facts.searches
  const levels = ({ bits, groupSize, symmetric, search }: AffineGrid) => ({
    bits,
    groupSize,
    symmetric,
    ...(searches ? { search } : {}),
  })
  const shared =
    facts.kind === 'quantizer'
      ? Object.fromEntries(
          sharedFields.flatMap((name) => (Object.hasOwn(facts.options, name) ? [[name, step[name]]] : [])),
        )
      : {}
  return given({
    method,
    scheme,
    ...(grid ? levels(grid) : {}),
    ...shared,
    ...own,
    only,
  })
}

/** The part of a recipe that no flag can say. */
export const weightRules = ({ pare, steps, overrides, limits }: Recipe): Recipe =>
  JSON.parse(JSON.stringify({ pare, steps, overrides, limits }))
