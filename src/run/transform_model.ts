/** The transforms of a run: the model that they will make, known from headers, and the one that they make. */
import { join } from 'node:path'
import { type Edited, editedModel } from '../models/edited_model.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import type { TensorEdits } from '../models/tensor_edits.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import type { Grid } from '../nn/grid.ts'
import { AbortError, OptionError, printable } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { RunHooks } from './evaluate.ts'
import { damagedJournal } from './journal.ts'
import { journalName, type TransformEntry } from './journal_entries.ts'
import type { TransformReport } from './report.ts'
import type { RunFolder } from './run_folder.ts'
import type { Transform } from './step_method.ts'
import { stepsByName } from './step_sequence.ts'
import { damagedEdits, readEdits, writeEdits } from './transform_file.ts'
import { transforms } from './transforms.ts'
import type { ResolvedTransform } from './weight_step.ts'

const transformOf = ({ method }: ResolvedTransform): Transform => transforms[method]

/** Whether any of the transforms looks at calibration texts. */
export const needsSamples = ({ transforms: all }: Pick<ResolvedCompressOptions, 'transforms'>): boolean =>
  all.some((transform) => transformOf(transform).needs.includes('samples'))

/**
 * The model as it will be: names, shapes and types of all tensors, but not yet their values.
 *
 * @throws OptionError for a model that a transform cannot rewrite.
 */
export const outlinedModel = <Source extends OpenCompressible & Edited>(
  source: Source,
  { transforms: all }: Pick<ResolvedCompressOptions, 'transforms'>,
): Source & Edited =>
  all.reduce<Source & Edited>((model, transform) => {
    const names = transformOf(transform).names(model, transform.own)
    return editedModel(model, new Map(names.map((name) => [name, []])))
  }, source)

/** Names of the tensors that each of the transforms changes. @param source as it is before the first */
export function changedNames(
  source: OpenCompressible & Edited,
  all: ResolvedCompressOptions['transforms'],
): ReadonlySet<string>[] {
  return all.map((transform, index) => {
    const before = outlinedModel(source, { transforms: all.slice(0, index) })
    return new Set(transformOf(transform).names(before, transform.own))
  })
}

export interface TransformTask {
  target: TargetPlan
  samples: readonly Uint32Array[] | undefined
  options: ResolvedCompressOptions
  hooks: RunHooks
  /** Bytes of activations that stay in memory. */
  activationBytes: number
  /** Seconds of work, over all sittings. */
  elapsed(): number
}

/**
 * The model after all transforms. What each finds is kept in the folder of the run as soon as it is there, and read back
 * where an earlier sitting found it.
 *
 * @throws StateError where the folder tells of other transforms; AbortError when `signal` stops it.
 */
export async function transformedModel<Source extends OpenCompressible & Edited>(
  source: Source,
  folder: Pick<RunFolder, 'state' | 'work' | 'addTransform'>,
  task: TransformTask,
): Promise<Source & Edited> {
  const { options } = task
  checkTransforms(folder, options.transforms)
  let model: Source & Edited = source
  for (const [index, transform] of options.transforms.entries()) {
    const known = folder.state.transforms[index]
    const edits = known
      ? knownEdits(model, folder, known)
      : await findEdits(model, folder, index, transform, task)
    model = editedModel(model, edits)
  }
  return model
}

async function findEdits(
  model: OpenCompressible,
  folder: Pick<RunFolder, 'work' | 'addTransform'>,
  index: number,
  transform: ResolvedTransform,
  { target, samples, options, hooks, activationBytes, elapsed }: TransformTask,
): Promise<TensorEdits> {
  const { method, own } = transform
  const { work } = folder
  const notes: string[] = []
  const grids = gridsOf(target, options.steps)
  const progress = (share: number, text: string) =>
    hooks.progress?.({ kind: 'progress', phase: 'transform', share, text })
  progress(0, method)
  const edits = await transformOf(transform).edits(
    model,
    samples,
    { ...own, seed: options.seed, gridOf: (name) => grids.get(name) },
    {
      signal: hooks.signal,
      progress,
      note: (text) => void notes.push(text),
      scratch: options.scratch ?? work,
      activationBytes,
    },
  )
  if (hooks.signal?.aborted) throw new AbortError()
  checkFloats(editedModel(model, edits), edits, target, method)
  const path = join(work, `transform-${String(index).padStart(4, '0')}.safetensors`)
  const entry = { ...writeEdits(path, edits), index, method, notes, seconds: elapsed() }
  folder.addTransform({ kind: 'transform', ...entry })
  return edits
}

/**
 * What the steps behind a transform round each weight to. Where a tree is stored that is the grid of a step in it, the last
 * that has one.
 */
function gridsOf(
  { tensors }: TargetPlan,
  steps: ResolvedCompressOptions['steps'],
): Map<string, Grid | undefined> {
  const byName = stepsByName(
    steps,
    tensors.map(({ name }) => name),
  )
  return new Map(
    tensors.map(({ name, grid, made }) => {
      const inTree = made ? byName.get(name)!.flatMap((step) => steps[step]!.grid ?? []) : []
      return [name, grid ?? inTree.at(-1)]
    }),
  )
}

/** What transforms did, for the report. */
export const transformReports = ({ state }: Pick<RunFolder, 'state'>): TransformReport[] =>
  state.transforms.map(({ method, edits, notes }) => ({ method, tensors: edits.length, notes }))

/** Norms and biases may be stored as half floats, which hold no large numbers. @throws OptionError where one does not fit */
function checkFloats(
  { weights }: OpenCompressible,
  edits: TensorEdits,
  { tensors }: TargetPlan,
  method: string,
): void {
  for (const { name, type, shape } of tensors) {
    if (type !== 'F16' || shape.length !== 1 || !edits.has(name)) continue
    const largest = scope(() => weights.load(name).abs().max().item())
    if (largest <= LARGEST_HALF) continue
    throw new OptionError(
      `--method: ${method} makes ${printable(name)} as large as ${largest.toPrecision(3)}, since an input behind it is nearly always 0, and F16 holds at most ${LARGEST_HALF}; choose --target gguf, which stores it as F32, or leave ${method} out`,
      { code: 'PARE_E_EDIT', facts: { tensor: name, largest } },
    )
  }
}
const LARGEST_HALF = 65504

/** What an earlier sitting found. @throws StateError where it does not fit the model */
function knownEdits(
  model: OpenCompressible,
  { work }: Pick<RunFolder, 'work'>,
  entry: TransformEntry,
): TensorEdits {
  const path = join(work, entry.file.name)
  try {
    const names = new Map(entry.edits.map(({ tensor }) => [tensor, []]))
    const edits = readEdits(path, entry, editedModel(model, names).weights.infos)
    // Whatever does not fit is found here.
    editedModel(model, edits)
    return edits
  } catch (error) {
    throw error instanceof OptionError ? damagedEdits(path) : error
  }
}

/** A journal may say anything. @throws StateError where its transforms are not those of the run */
function checkTransforms(
  { state, work }: Pick<RunFolder, 'state' | 'work'>,
  asked: readonly ResolvedTransform[],
): void {
  const { transforms: done, stages, result } = state
  const isOther = done.some(({ method }, index) => method !== asked[index]?.method)
  const isEarly = done.length < asked.length && (stages.length > 0 || result !== undefined)
  if (isOther || isEarly)
    throw damagedJournal(
      join(work, journalName),
      isOther ? 'tells of transforms that the run does not have' : 'tells of stages before their transforms',
    )
}
