/** The lines of a journal, as they must be. A journal comes from the disk and may say anything. */
import { z } from 'zod'
import { faultOf, type PareWeight } from '../formats/pare_weight.ts'
import { workName } from '../models/source/incomplete_folder.ts'
import { digestSchema } from './verify/digest_schema.ts'

export const JOURNAL_VERSION = 1
export const journalName = 'journal.jsonl'

/** Names of files come from the disk again: no path may hide in them, nor what a run keeps for itself. */
const fileName = z
  .string()
  .regex(/^(?!\.\.?$)[^/\\\0]{1,255}$/)
  .refine((name) => name !== workName && name !== journalName)
const count = z.int().nonnegative()
const file = z.strictObject({ name: fileName, bytes: count })
const inputsFile = z.strictObject({ name: z.string().regex(/^inputs-\d{4,9}\.safetensors$/), bytes: count })
const hashedFile = (name: RegExp) =>
  z.strictObject({
    name: z.string().regex(name),
    bytes: count,
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
  })
const shardFile = hashedFile(/^(stage|tuned)-\d{4,9}\.safetensors$/)
const transformFile = hashedFile(/^transform-\d{4,9}\.safetensors$/)
const positive = z.int().positive()
const rotation = { size: positive, seed: z.int() }
/** Numbers stand in the file, as its array of this number. */
const edit = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('scaleRows'), array: count }),
  z.strictObject({ kind: z.literal('scaleColumns'), array: count }),
  z.strictObject({ kind: z.literal('fill'), value: z.number() }),
  z.strictObject({ kind: z.literal('rotateColumns'), ...rotation }),
  z.strictObject({ kind: z.literal('rotateRows'), ...rotation }),
  z.strictObject({ kind: z.literal('clamp'), array: count, groupSize: positive }),
])
const field = z.union([z.string(), z.number(), z.boolean(), z.null()])

const trainedFloat = z.strictObject({ name: z.string(), values: digestSchema })
/** Losses before the first pass of a training and after each, and the pass that was kept. */
const losses = z.array(z.number().nonnegative()).min(1)
const stage = z.strictObject({
  kind: z.literal('stage'),
  index: count,
  name: z.string(),
  shard: shardFile,
  /** Activations before the next stage; absent where the method needs none. */
  inputs: inputsFile.optional(),
  layers: z.array(
    z.strictObject({
      name: z.string(),
      bits: z.number().nonnegative(),
      relativeError: z.number().nonnegative(),
      /** Absent where nothing is rounded to a grid. */
      relativeErrorRtn: z.number().nonnegative().optional(),
      notes: z.array(z.string()),
      /** Of the values; runs that began before there were any have none. */
      values: digestSchema.optional(),
      /** How it is put together, where the data decided that. */
      form: z.custom<PareWeight>((value) => faultOf('form', value) === undefined).optional(),
    }),
  ),
  /** Where the stage was trained as a whole: its losses, and the norms and biases that are in the shard too. */
  tuning: z
    .strictObject({
      losses,
      kept: count,
      floats: z.array(trainedFloat),
    })
    .refine(({ losses, kept }) => kept < losses.length)
    .optional(),
  /** Norms and biases in the shard that the training of the model changed, in the place of those of `tuning`. */
  floats: z.array(trainedFloat).optional(),
  /** What methods remarked, with the weights that it holds for. */
  remarks: z.array(z.strictObject({ text: z.string(), names: z.array(z.string()) })),
  /** Work so far, over all sittings. */
  seconds: z.number().nonnegative(),
})

export const entry = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('run'),
    version: z.literal(JOURNAL_VERSION),
    /** What decides the bytes of the result, by the name that an error gives it. */
    fingerprint: z.record(z.string(), field),
  }),
  z.strictObject({
    kind: z.literal('transform'),
    index: count,
    method: z.string(),
    file: transformFile,
    /** What is done to each tensor, in this order. */
    edits: z.array(z.strictObject({ tensor: z.string(), edits: z.array(edit) })),
    notes: z.array(z.string()),
    seconds: z.number().nonnegative(),
  }),
  stage,
  z
    .strictObject({
      kind: z.literal('tuned'),
      losses,
      kept: count,
      /** In the place of all before. */
      stages: z.array(stage).min(1),
      seconds: z.number().nonnegative(),
    })
    .refine(({ losses, kept }) => kept < losses.length),
  z.strictObject({ kind: z.literal('result'), files: z.array(file), seconds: z.number().nonnegative() }),
  z.strictObject({ kind: z.literal('publish'), files: z.array(fileName) }),
  z.strictObject({ kind: z.literal('done') }),
])

export type JournalEntry = z.infer<typeof entry>
export type Fingerprint = Extract<JournalEntry, { kind: 'run' }>['fingerprint']
export type StageEntry = Extract<JournalEntry, { kind: 'stage' }>
export type TunedEntry = Extract<JournalEntry, { kind: 'tuned' }>
export type TransformEntry = Extract<JournalEntry, { kind: 'transform' }>
