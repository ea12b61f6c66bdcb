/** The field `model` of a training recipe. */
import { z } from 'zod'
import { above0, list, oneOf, optional, record, text, whole, yesOrNo } from '../option_fields.ts'

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
  /** A llama folder or GGUF file in any form that Pare reads, or a folder of a classifier. */
  source: string
}

export type ModelRecipe = LlamaRecipe | ResnetRecipe | LenetRecipe | MlpRecipe | SourceRecipe

export const modelFamilies = ['llama', 'resnet', 'lenet', 'mlp'] as const
export type ModelFamily = (typeof modelFamilies)[number]

const widths = list(whole(1), 'a list of widths')

export const modelSchemas = {
  llama: record({
    family: z.literal('llama'),
    layers: whole(1),
    hidden: whole(2),
    heads: whole(1),
    feedForward: whole(1),
    ...optional({ kvHeads: whole(1), context: whole(1), tied: yesOrNo, rotaryBase: above0() }),
  }),
  resnet: record({ family: z.literal('resnet'), depth: whole(8), ...optional({ width: whole(1) }) }),
  lenet: record({
    family: z.literal('lenet'),
    ...optional({ convolutions: widths, hidden: whole(1) }),
  }),
  mlp: record({ family: z.literal('mlp'), hidden: widths }),
  source: record({ source: text('the folder or file of a model') }),
}

/** Checked by family, so that a misspelt field is compared with those of the family alone. */
export const familyField = z.looseObject(
  { family: oneOf(modelFamilies) },
  { error: 'a map with a family or a source' },
)
