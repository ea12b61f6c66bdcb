/** The field `model` of a training recipe. */
import { z } from 'zod'
import { above0, list, oneOf, optional, record, shareBelow1, text, whole, yesOrNo } from '../option_fields.ts'

/** A decoder of the llama family with new weights. */
export interface LlamaRecipe {
  family: 'llama'
  /** Blocks. */
  layers: number
  /** Width of the hidden states; `heads` divides it. */
  hidden: number
  heads: number
  /** Heads of keys and values; divides `heads`. @default heads */
  kvHeads?: number
  /** Width of the SwiGLU. */
  feedForward: number
  /** Longest sequence, in tokens. @default length of the data */
  context?: number
  /** Head and embedding are one matrix. @default true */
  tied?: boolean
  /** Base of the rotary positions, above 0. @default 10000 */
  rotaryBase?: number
}

/** Layers of LSTM over tokens. */
export interface LstmRecipe {
  family: 'lstm'
  layers: number
  /** Width of the layers. */
  hidden: number
  /** Width of the embedding. @default hidden */
  embedding?: number
  /** Share of the embedding and of each layer's outputs that is dropped in training, from 0 to below 1. @default 0 */
  dropout?: number
  /** Head and embedding are one matrix. @default whether both have one width */
  tied?: boolean
  /** Each row of a batch goes on with the state behind the window before. @default true */
  carried?: boolean
}

/** ResNet for small images: depth 6n + 2. */
export interface ResnetRecipe {
  family: 'resnet'
  /** 8, 14, 20, 56, ... */
  depth: number
  /** Channels of the first stage. @default 16 */
  width?: number
}

/** Two convolutions of 5 x 5 and two fully connected layers. */
export interface LenetRecipe {
  family: 'lenet'
  /** Channels of the two convolutions. @default [20, 50] */
  convolutions?: readonly number[]
  /** Width of the hidden layer. @default 500 */
  hidden?: number
}

/** Fully connected layers. */
export interface MlpRecipe {
  family: 'mlp'
  /** Widths of the hidden layers. */
  hidden: readonly number[]
}

/** Goes on with the weights of a folder, and its shapes. */
export interface SourceRecipe {
  /** A llama folder or GGUF file in any form that Pare reads, or the folder of an LSTM or a classifier. */
  source: string
}

export type ModelRecipe = LlamaRecipe | LstmRecipe | ResnetRecipe | LenetRecipe | MlpRecipe | SourceRecipe

export const modelFamilies = ['llama', 'lstm', 'resnet', 'lenet', 'mlp'] as const
/** Families that learn from text; the others learn from images. */
export const languageFamilies: readonly string[] = ['llama', 'lstm']
export type ModelFamily = (typeof modelFamilies)[number]

/** Beyond these a number is a slip of the hand. */
const [mostLayers, mostChannels] = [10_000, 2 ** 20]
const layers = whole(1, mostLayers)
const width = whole(1, mostChannels)
const widths = list(width, 'a list of widths')

export const modelSchemas = {
  llama: record({
    family: z.literal('llama'),
    layers,
    hidden: whole(2, mostChannels),
    heads: width,
    feedForward: width,
    ...optional({ kvHeads: width, context: whole(1), tied: yesOrNo, rotaryBase: above0() }),
  }),
  lstm: record({
    family: z.literal('lstm'),
    layers,
    hidden: width,
    ...optional({ embedding: width, dropout: shareBelow1, tied: yesOrNo, carried: yesOrNo }),
  }),
  resnet: record({ family: z.literal('resnet'), depth: whole(8, mostLayers), ...optional({ width }) }),
  lenet: record({
    family: z.literal('lenet'),
    ...optional({ convolutions: widths, hidden: width }),
  }),
  mlp: record({ family: z.literal('mlp'), hidden: widths }),
  source: record({ source: text('the folder or file of a model') }),
}

/** Checked by family, so that a misspelt field is compared with those of the family alone. */
export const familyField = z.looseObject(
  { family: oneOf(modelFamilies) },
  { error: 'a map with a family or a source' },
)
