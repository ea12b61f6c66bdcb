/** The recipe of a training: model, data, optimiser and methods in one file or record. */
import { z } from 'zod'
import { above0, list, oneOf, optional, record, shareBelow1, whole, wholeFields } from '../option_fields.ts'
import { recipeVersion } from '../recipe.ts'
import type { DataRecipe } from './data_fields.ts'
import { type DistillationRecipe, distillationSchema } from './distillation_fields.ts'
import type { MethodRecipe } from './method_fields.ts'
import type { ModelRecipe } from './model_fields.ts'
import type { OptimiserRecipe } from './optimiser_fields.ts'

/**
 * A training as it is written.
 *
 * @example
 * const recipe: TrainingRecipe = {
 *   pare: 1,
 *   train: {
 *     model: { family: 'resnet', depth: 8 },
 *     data: { kind: 'mnist' },
 *     batch: 128,
 *     epochs: 10,
 *     optimiser: { name: 'sgd', rate: 0.1, momentum: 0.9, schedule: { name: 'cosine' } },
 *     methods: [{ method: 'gmp', sparsity: 0.9, begin: 60, end: 450, every: 20 }],
 *   },
 *   output: 'resnet-8',
 * }
 */
export interface TrainingRecipe {
  /** Version of the recipe. */
  pare: typeof recipeVersion
  train: TrainingFields
  /** Of new weights, orders and augmentation; whole, from 0 on. @default 0 */
  seed?: number
  /** Folder for the result. Needed here or beside the recipe. */
  output?: string
  /** Takes a folder that holds something else: files of the names of the result are replaced, others stay. @default false */
  overwrite?: boolean
  /** Discards what an unfinished run left at the output, and does a finished one again. @default false */
  restart?: boolean
  /** Threads of the command line; from code, call `setThreads`. @default all cores */
  threads?: number
}

export interface TrainingFields {
  model: ModelRecipe
  data: DataRecipe
  /** Windows or images of a batch, from 1 on. */
  batch: number
  /** Steps of the optimiser in all. This or `epochs`. */
  steps?: number
  /** Passes over the data. */
  epochs?: number
  /** @default adamw */
  optimiser?: OptimiserRecipe
  /** Largest Euclidean norm of all gradients together; longer ones are shortened. Above 0. @default none */
  clip?: number
  /** Batches of one step, whose gradients are averaged. @default 1 */
  accumulate?: number
  /** Steps one after another that may be left out because a loss or gradient is not finite. @default 0 */
  skipAtMost?: number
  /** In the order in which they act. @default none */
  methods?: readonly MethodRecipe[]
  /** @default no teacher */
  distill?: DistillationRecipe
  /** The result has exponential averages of the weights. @default off */
  average?: {
    /** Share that stays at each step, in [0, 1). @default 0.999 */
    decay?: number
  }
  evaluation?: {
    /** Steps between two evaluations on held-out data. @default at the end only */
    every?: number
    /** Held-out windows or images that are looked at, spread evenly. @default all */
    examples?: number
  }
  checkpoint?: {
    /** Steps between two checkpoints. @default 100 */
    every?: number
    /** Checkpoints that are kept. @default 2 */
    keep?: number
  }
  /** Type that the model computes in; of bf16 the trained numbers are f32. @default f32 */
  dtype?: 'f32' | 'bf16' | 'f64'
  /** Type of the weights in the result. @default f32 */
  stored?: 'f32' | 'bf16' | 'f16'
}

const version = z.literal(recipeVersion, {
  error: `the version of the recipe, ${recipeVersion} for this Pare (write pare: ${recipeVersion}, or use the Pare that the recipe is for),`,
})

/** Model, data, optimiser and methods are checked by their kinds, in `read_training.ts`. */
export const trainingSchema = record({
  model: z.unknown(),
  data: z.unknown(),
  batch: whole(1),
  ...optional({
    steps: whole(1),
    epochs: whole(1),
    optimiser: z.unknown(),
    clip: above0(),
    accumulate: whole(1, 1_000_000),
    skipAtMost: whole(0),
    methods: list(z.unknown(), 'a list of methods'),
    distill: distillationSchema,
    average: record(optional({ decay: shareBelow1 })),
    evaluation: record(optional({ every: whole(1), examples: whole(1) })),
    checkpoint: record(optional({ every: whole(1), keep: whole(1) })),
    dtype: oneOf(['f32', 'bf16', 'f64']),
    stored: oneOf(['f32', 'bf16', 'f16']),
  }),
})

export const trainingRecipeSchema = record({
  pare: version,
  train: z.custom<unknown>((fields) => fields !== undefined, 'a map of model, data, batch and more'),
  ...optional({
    seed: wholeFields.seed,
    output: wholeFields.output,
    overwrite: wholeFields.overwrite,
    restart: wholeFields.restart,
    threads: whole(1),
  }),
})
