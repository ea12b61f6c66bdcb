/** A training from its recipe: data, model, optimiser and methods, steps with checkpoints, and the folder of the result. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { disk } from '../../formats/disk.ts'
import type { Parameters } from '../../nn/parameters.ts'
import { exponentialAverage } from '../../optim/averages.ts'
import { averaging } from '../../optim/averaging.ts'
import { createLoader } from '../../optim/loader.ts'
import { checkMethods } from '../../optim/training_method.ts'
import { OptionError } from '../../tensor/errors.ts'
import { instructionSet } from '../../tensor/index.ts'
import { distillationPrefix } from '../../train/distillation.ts'
import { Trainer } from '../../train/trainer.ts'
import { checkSameRun } from '../../train/training_file.ts'
import { checkPlace } from '../output_place.ts'
import type { OnProgress } from '../progress.ts'
import { peakMemory } from '../report.ts'
import { lockWork, unlockWork } from '../run_lock.ts'
import { runLocked } from '../training_run.ts'
import { version } from '../version.ts'
import { type Prepared, prepareTraining } from './prepare_training.ts'
import { readTraining, type TrainingOverrides, type TrainingSettings } from './read_training.ts'
import { withTeacher } from './teacher.ts'
import { spreadExamples } from './trained_model.ts'
import { checkTrainingFolder, removeUnbegun, removeWork, writeTrainingResult } from './training_folder.ts'
import { optimiserFor } from './training_optimiser.ts'
import { methodFor } from './training_pruning.ts'
import type { TrainingRecipe } from './training_recipe.ts'
import { readTrainingReport, reportName, type TrainingReport } from './training_report.ts'

export interface TrainingHooks {
  /** Stops after the step at hand, with a checkpoint. */
  signal?: AbortSignal | undefined
  progress?: OnProgress | undefined
}

/**
 * Trains as a recipe says. The result lies in `output`, a folder that `loadModel` or `loadClassifier` opens, with
 * log.jsonl and training.json. A run that was stopped goes on to the same bits; a finished one is not done again.
 *
 * @param recipe a recipe, or the path of a `.yaml`, `.yml` or `.json` file with one
 * @throws OptionError for what is not valid in the recipe, and for empty data; StateError where the folder holds another
 * run; NumericalError where a loss is not finite, with the last good checkpoint kept; ResourceError where the disk is
 * full; AbortError where the signal stops it; SourceError and FormatError for data that cannot be read.
 * @example
 * const { evaluation } = await train({
 *   pare: 1,
 *   train: {
 *     model: { family: 'mlp', hidden: [32] },
 *     data: { kind: 'digits' },
 *     batch: 32,
 *     epochs: 2,
 *   },
 *   output: 'digits-mlp',
 * })
 */
export const train = (recipe: string | TrainingRecipe, hooks: TrainingHooks = {}): Promise<TrainingReport> =>
  trainWith({ recipe }, hooks)

/** The same with what wins over the recipe: for the command line. */
export async function trainWith(
  { recipe, ...overrides }: { recipe: string | TrainingRecipe } & TrainingOverrides,
  { signal, progress = () => {} }: TrainingHooks = {},
): Promise<TrainingReport> {
  const settings = readTraining(recipe, overrides)
  checkMethodsOf(settings)
  if (settings.output === '')
    throw new OptionError(
      'output: the folder for the result is needed; name it in the recipe, or give --output',
    )
  const output = resolve(settings.output)
  const { overwrite, restart } = settings
  checkPlace(output)
  const { model, distill } = settings.train
  checkTrainingFolder(output, overwrite || restart, [
    ...(typeof recipe === 'string' ? [recipe] : []),
    ...('source' in model ? [model.source] : []),
    ...(distill ? [distill.teacher] : []),
  ])
  progress({ kind: 'progress', phase: 'read', share: 0, text: 'data' })
  const prepared = await prepareTraining(settings, signal)
  try {
    return await inFolder(settings, prepared, { output, signal, progress })
  } finally {
    prepared.teacher?.close()
    prepared.model.task.parameters.dispose()
  }
}

/** The training in its folder, which no other process may use meanwhile. */
async function inFolder(
  settings: TrainingSettings,
  prepared: Prepared,
  { output, signal, progress }: Omit<RunOptions, 'run'>,
): Promise<TrainingReport> {
  const { overwrite, restart } = settings
  const made = !existsSync(output)
  const lock = lockWork(output)
  try {
    const run = identityOf(settings, prepared)
    const finished = overwrite || restart ? undefined : readTrainingReport(output)
    if (finished) {
      checkSameRun(join(output, reportName), finished.run, run, 'the report')
      removeWork(output)
      progress({ kind: 'note', text: 'the training is finished; --restart does it again' })
      return { ...finished, output: settings.output }
    }
    return await trained(settings, prepared, { output, run, signal, progress })
  } finally {
    removeUnbegun(output, made)
    unlockWork(lock)
  }
}

interface RunOptions {
  progress: OnProgress
  output: string
  run: Record<string, unknown>
  signal: AbortSignal | undefined
}

async function trained(
  settings: TrainingSettings,
  { model, data, steps, teacher }: Prepared,
  { output, run, signal, progress }: RunOptions,
): Promise<TrainingReport> {
  const { seed, restart, train: fields } = settings
  const { batch, accumulate, skipAtMost, clip, evaluation = {}, checkpoint = {}, average } = fields
  const task = teacher ? withTeacher(model.task, teacher, fields.distill!, seed) : model.task
  const { parameters } = task
  const heldOut = spreadExamples(data.heldOut.count, evaluation.examples)
  const following = average && averaging(exponentialAverage(average))
  const pruned = fields.methods.map((method) => methodFor(method, hasMaps(fields)))
  const methods = [...pruned, ...(following ? [following] : [])]
  const evaluate = () => model.evaluate(heldOut, signal)
  const trainer = new Trainer({
    task: { ...task, evaluate: () => (following ? following.during(evaluate) : evaluate()) },
    loader: createLoader(data.train, {
      batch,
      dropLast: true,
      seed,
      ...(model.order && { order: model.order }),
    }),
    optimiser: optimiserFor(fields.optimiser, steps)(parameters),
    methods,
    seed,
    accumulate,
    skipAtMost,
    ...(clip !== undefined && { clip }),
  })
  let hasBegun = false
  try {
    const summary = await runLocked({
      trainer,
      output,
      run,
      steps,
      restart,
      signal,
      progress(event) {
        // From the first step on the folder holds no finished training.
        if (!hasBegun) disk().remove(join(output, reportName))
        hasBegun = true
        progress({ kind: 'training', ...event })
      },
      note: (text) => progress({ kind: 'note', text }),
      ...(checkpoint.every !== undefined && { checkpointEvery: checkpoint.every }),
      ...(checkpoint.keep !== undefined && { keep: checkpoint.keep }),
      ...(evaluation.every !== undefined && { evaluateEvery: evaluation.every }),
    })
    progress({ kind: 'progress', phase: 'write', share: 0, text: 'result' })
    let report: TrainingReport | undefined
    writeTrainingResult(output, {
      parameters,
      files: model.files(),
      stored: fields.stored,
      report(files) {
        report = {
          version,
          output: settings.output,
          family: model.family,
          parameters: weightsIn(parameters),
          seed,
          steps: summary.steps,
          epochs: summary.epoch,
          units: (summary.steps - summary.skipped) * accumulate * batch * data.unitsEach,
          unit: data.unit,
          loss: summary.loss ?? null,
          skipped: summary.skipped,
          evaluation: summary.evaluation ?? {},
          seconds: summary.seconds,
          peakMemoryBytes: peakMemory(),
          resumedAt: summary.resumedAt ?? null,
          files,
          run,
        }
        return report
      },
    })
    removeWork(output)
    return report!
  } finally {
    trainer.dispose()
  }
}

/** Options of methods and optimiser that do not fit each other, before any data is read. @throws OptionError */
function checkMethodsOf({ train: fields }: TrainingSettings): void {
  optimiserFor(fields.optimiser, fields.steps ?? 1)
  checkMethods(fields.methods.map((method) => methodFor(method, hasMaps(fields))))
}

const hasMaps = ({ distill }: TrainingSettings['train']): boolean =>
  distill?.hidden?.some(({ map }) => map) ?? false

/** Weights of the model that are trained. */
const weightsIn = (parameters: Parameters): number =>
  [...parameters.tensors()].reduce(
    (sum, [name, { size }]) => sum + (name.startsWith(distillationPrefix) ? 0 : size),
    0,
  )

/** What must be the same for a run to go on, or to count as done. */
function identityOf(
  { seed, train: fields }: TrainingSettings,
  { data, steps, source, teacher }: Prepared,
): Record<string, unknown> {
  const { data: asked, model, distill, checkpoint: _, evaluation, epochs: __, ...rest } = fields
  return {
    version,
    instructionSet: instructionSet(),
    seed,
    train: {
      ...rest,
      steps,
      model: source === undefined ? model : { source },
      ...(teacher && { distill: { ...distill, teacher: teacher.hash } }),
      data: { kind: asked.kind, train: data.train.fingerprint, heldOut: data.heldOut.fingerprint },
      evaluation: { examples: evaluation?.examples ?? null, every: evaluation?.every ?? null },
    },
  }
}
