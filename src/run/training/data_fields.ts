/** The field `data` of a training recipe. */
import { z } from 'zod'
import type { AugmentOptions } from '../../data/augment.ts'
import { largestVocabulary } from '../../formats/tokenizer/train_byte_level_bpe.ts'
import { files, numberThat, oneOf, optional, record, text, whole, yesOrNo } from '../option_fields.ts'

/** Documents: a text file is one, a line of JSONL or a row of Parquet is one each. */
export interface TextDataRecipe {
  kind: 'text'
  /** `.txt`, `.md`, `.jsonl`, `.ndjson` and `.parquet` files, or patterns with `*`, `**` and `?`. */
  files: readonly string[]
  /** Tokens of a window. */
  length: number
  /** A tokenizer that is trained on the training text, or a folder with one. @default that of `model.source` */
  tokenizer?: { vocabulary: number } | string
  /** What is held out. @default every tenth of ten or more documents, else the last tenth of the last one */
  validation?: {
    /** Files of their own. Not together with the others. */
    files?: readonly string[]
    /** Every n-th document, from 2 on. */
    every?: number
    /** Share of the last document, in (0, 1), from the beginning of a paragraph, line or word near it on. */
    tail?: number
  }
}

interface ImageDataRecipe {
  /** Random changes of the training images. @default none */
  augment?: AugmentOptions
}

/** The small digits of scikit-learn (8 x 8) or 10,000 of MNIST (28 x 28). Every fifth is held out. */
export interface DigitDataRecipe extends ImageDataRecipe {
  kind: 'digits' | 'mnist'
  /** The folder that `interop/assets.sh` filled. @default PARE_ASSETS, else `pare-assets` beside the cache of Pare */
  assets?: string
}

/** Moved digits on textures: MNIST in colour on photographs, 32 x 32. */
export interface TexturedDigitDataRecipe extends ImageDataRecipe {
  kind: 'textured_digits'
  assets?: string
  /** Training images of each class. @default all */
  perClass?: number
  /** Share of the training images with a wrong label, from 0 to 1. @default 0 */
  labelNoise?: number
}

/** Digits in the format of MNIST: a file of images and one of labels, also packed (.gz). */
export interface IdxDataRecipe extends ImageDataRecipe {
  kind: 'idx'
  images: string
  labels: string
  /** Files of their own, or every n-th image. @default every 10 */
  validation?: { images?: string; labels?: string; every?: number }
}

/** Images in one folder for each class. */
export interface ImageFolderDataRecipe extends ImageDataRecipe {
  kind: 'images'
  folder: string
  /** Every image is scaled to cover this size. */
  height: number
  width: number
  /** A folder of its own with the same classes, or every n-th image. @default every 10 */
  validation?: { folder?: string; every?: number }
}

export type DataRecipe =
  | TextDataRecipe
  | DigitDataRecipe
  | TexturedDigitDataRecipe
  | IdxDataRecipe
  | ImageFolderDataRecipe

export const dataKinds = ['text', 'digits', 'mnist', 'textured_digits', 'idx', 'images'] as const

const augment = record(
  optional({
    crop: record({ padding: whole(0) }),
    flip: yesOrNo,
    cutout: record({ size: whole(1) }),
  }),
)
const folder = text('the name of a folder')
const file = text('the path of a file')
const every = whole(2)
/** Pixels. */
const side = whole(1, 4096)

export const dataSchemas = {
  text: record({
    kind: z.literal('text'),
    files,
    length: whole(1),
    ...optional({
      tokenizer: z.union([record({ vocabulary: whole(257, largestVocabulary) }), folder], {
        error: 'a map with a vocabulary, or the folder of a tokenizer',
      }),
      validation: record(
        optional({
          files,
          every,
          tail: numberThat('a share above 0 and below 1', (x) => x > 0 && x < 1),
        }),
      ),
    }),
  }),
  digits: record({ kind: z.literal('digits'), ...optional({ assets: folder, augment }) }),
  mnist: record({ kind: z.literal('mnist'), ...optional({ assets: folder, augment }) }),
  textured_digits: record({
    kind: z.literal('textured_digits'),
    ...optional({
      assets: folder,
      augment,
      perClass: whole(1),
      labelNoise: numberThat('a share from 0 to 1', (x) => x >= 0 && x <= 1),
    }),
  }),
  idx: record({
    kind: z.literal('idx'),
    images: file,
    labels: file,
    ...optional({ augment, validation: record(optional({ images: file, labels: file, every })) }),
  }),
  images: record({
    kind: z.literal('images'),
    folder,
    height: side,
    width: side,
    ...optional({ augment, validation: record(optional({ folder, every })) }),
  }),
}

/** Checked by kind, so that a misspelt field is compared with those of the kind alone. */
export const kindField = z.looseObject({ kind: oneOf(dataKinds) }, { error: 'a map with a kind' })
