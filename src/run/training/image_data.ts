/** Images with classes for a training, and what is held out of them. */
import { dirname, join } from 'node:path'
import { digitsData, idxDigits, mnistData, type Split } from '../../data/assets/digits.ts'
import { texturedDigits } from '../../data/assets/textured_digits.ts'
import { readImageFolder } from '../../data/image_folder.ts'
import {
  channelStatistics,
  holdOut,
  type ImageSet,
  imageExamples,
  type Normalisation,
} from '../../data/image_set.ts'
import { defaultCacheFolder } from '../../models/source/cache.ts'
import type { Batch, Examples } from '../../optim/examples.ts'
import { AbortError, OptionError } from '../../tensor/errors.ts'
import type { DataRecipe, IdxDataRecipe, ImageFolderDataRecipe, TextDataRecipe } from './data_fields.ts'

export type AnyImageRecipe = Exclude<DataRecipe, TextDataRecipe>

export interface ImageData {
  readonly train: Examples<Batch>
  readonly heldOut: Examples<Batch>
  /** Height, width and channels. */
  readonly image: readonly [number, number, number]
  readonly classes: readonly string[]
  readonly normalise: Normalisation
}

/** Where the files of `interop/assets.sh` are looked for. */
export const defaultAssets = (): string =>
  process.env.PARE_ASSETS || join(dirname(defaultCacheFolder()), 'pare-assets')

export interface ReadImageDataOptions {
  /** That of the model that is gone on with. @default mean and deviation of the training images */
  normalise?: Normalisation | undefined
  signal?: AbortSignal | undefined
}

/**
 * @throws OptionError, SourceError and FormatError naming the file and image that cannot be used, or both sizes where
 * held-out images have another one than those of the training; AbortError where the signal stops it
 */
export async function readImageData(
  recipe: AnyImageRecipe,
  { normalise, signal }: ReadImageDataOptions = {},
): Promise<ImageData> {
  if (signal?.aborted) throw new AbortError()
  const { train, heldOut } = await splitOf(recipe, signal)
  if (signal?.aborted) throw new AbortError()
  for (const set of [train, heldOut])
    if (set.count === 0)
      throw new OptionError(`${set.name}: has no images; give more, or hold out another part`, {
        code: 'PARE_E_EMPTY_DATA',
      })
  checkSameSize(train, heldOut)
  const levels = normalise ?? channelStatistics(train)
  const { augment } = recipe
  return {
    train: imageExamples(train, { normalise: levels, ...(augment && { augment }) }),
    heldOut: imageExamples(heldOut, { normalise: levels }),
    image: sizeOf(train),
    classes: train.classes,
    normalise: levels,
  }
}

const sizeOf = ({ height, width, channels }: ImageSet) => [height, width, channels] as const

/** A network has one size of images; another would be refused late, or evaluated as something else. */
function checkSameSize(train: ImageSet, heldOut: ImageSet): void {
  const [needed, found] = [train, heldOut].map((set) => sizeOf(set).join(' x ')) as [string, string]
  if (needed === found) return
  throw new OptionError(
    `train.data.validation: needs images of ${needed} (height x width x channels) as ${train.name} has them, ${heldOut.name} has ${found}; give held-out images of that size, or hold out every nth with validation.every`,
    { code: 'PARE_E_FIELD', facts: { field: 'train.data.validation', needed, found } },
  )
}

async function splitOf(recipe: AnyImageRecipe, signal: AbortSignal | undefined): Promise<Split> {
  switch (recipe.kind) {
    case 'digits':
      return digitsData({ assets: recipe.assets ?? defaultAssets() })
    case 'mnist':
      return mnistData({ assets: recipe.assets ?? defaultAssets() })
    case 'textured_digits': {
      const { kind: _, augment: __, assets = defaultAssets(), ...options } = recipe
      return texturedDigits({ assets, ...options })
    }
    case 'idx':
      return idxSplit(recipe)
    case 'images':
      return folderSplit(recipe, signal)
  }
}

function idxSplit({ images, labels, validation = {} }: IdxDataRecipe): Split {
  const all = idxDigits(images, labels)
  if (validation.images === undefined && validation.labels === undefined)
    return holdOut(all, validation.every ?? 10)
  if (validation.images === undefined || validation.labels === undefined || validation.every !== undefined)
    throw new OptionError('train.data.validation: images and labels of their own are needed, or every alone')
  return { train: all, heldOut: idxDigits(validation.images, validation.labels) }
}

async function folderSplit(
  { folder, height, width, validation = {} }: ImageFolderDataRecipe,
  signal: AbortSignal | undefined,
): Promise<Split> {
  const all = await readImageFolder(folder, { height, width, signal })
  if (validation.folder === undefined) return holdOut(all, validation.every ?? 10)
  if (validation.every !== undefined)
    throw new OptionError('train.data.validation: a folder of its own is needed, or every alone')
  const { classes } = all
  return { train: all, heldOut: await readImageFolder(validation.folder, { height, width, classes, signal }) }
}
