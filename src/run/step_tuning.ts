/** The training that the steps of a compression ask for, of stages and of the whole model. */
import type { ModelTuner, StageTuner } from '../calibrate/stage_tuner.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import { OptionError } from '../tensor/errors.ts'
import type { JournalState } from './journal.ts'
import type { StageEntry } from './journal_entries.ts'
import { flagName } from './option_fields.ts'
import type { TuningReport } from './report.ts'
import type { Training, WeightStepMethod } from './step_method.ts'
import { stepMethod } from './step_methods.ts'
import { stepsByName } from './step_sequence.ts'
import type { ResolvedStep } from './weight_step.ts'

/** What may be trained. */
interface Subject<Tuner> {
  /** As a verb that follows the method. */
  trains: string
  of(method: WeightStepMethod): Training<Tuner> | undefined
}
const block: Subject<StageTuner> = { trains: 'trains each block', of: ({ training }) => training }
const model: Subject<ModelTuner> = {
  trains: 'trains the whole model',
  of: ({ modelTraining }) => modelTraining,
}

/**
 * What trains the stages of a run; nothing where no step asks for it. A stage is trained once, with one target, so that
 * steps that ask for it must ask for the same; and what they stored must be what is stored in the end.
 *
 * @param names of all linear weights
 * @throws OptionError PARE_E_TUNING for steps of which that is not so
 */
export const tunerOf = (
  steps: readonly ResolvedStep[],
  names: readonly string[],
  seed: number,
): StageTuner | undefined => askedTuner(block, steps, names, seed)

/** The same for what trains the model once all of its stages are compressed. */
export const modelTunerOf = (
  steps: readonly ResolvedStep[],
  names: readonly string[],
  seed: number,
): ModelTuner | undefined => askedTuner(model, steps, names, seed)

function askedTuner<Tuner>(
  subject: Subject<Tuner>,
  steps: readonly ResolvedStep[],
  names: readonly string[],
  seed: number,
): Tuner | undefined {
  const tuned = steps.flatMap((step, index) => {
    const training = subject.of(stepMethod(step.method))
    const tuner = training?.tuner({ ...step.own, seed })
    return training && tuner ? [{ step, index, tuner, options: training.options }] : []
  })
  const [first] = tuned
  if (!first) return undefined
  type Asked = typeof first
  /** What a step asks of the training, as text. */
  const asked = ({ step: { method, own }, options }: Asked) =>
    JSON.stringify([method, ...options.map((name) => own[name] ?? null)])
  const refused = ({ step: { at, method }, options: [passes] }: Asked, what: string) =>
    new OptionError(`${at}: ${method} ${subject.trains}, and ${what} ${flagName(passes)} 0`, {
      code: 'PARE_E_TUNING',
      facts: { method },
    })
  const other = tuned.find((one) => asked(one) !== asked(first))
  if (other)
    throw refused(
      other,
      `${first.step.at} (${first.step.method}) does with other options; ask for the same in both, or leave the training of one out with`,
    )
  for (const [name, own] of stepsByName(steps, names)) {
    const early = tuned.find(({ index }) => own.includes(index) && own.at(-1) !== index)
    if (early)
      throw refused(
        early,
        `a later step changes ${name}, of which what is stored is trained; put it last, or leave the training out with`,
      )
  }
  return first.tuner
}

/**
 * Norms and biases that the steps train. They move by less than half floats tell apart, so that a folder of Pare keeps them
 * in f32.
 */
export function trainedFloats(
  { model, weights }: Pick<OpenCompressible, 'model' | 'weights'>,
  steps: readonly ResolvedStep[],
): string[] {
  const trains = ({ method, own }: ResolvedStep) => {
    const { training, modelTraining } = stepMethod(method)
    return [training, modelTraining].some((one) => one?.floats && one.tuner(own) !== undefined)
  }
  if (!steps.some(trains)) return []
  const prefixes = model.stages.map((stage) => commonPrefix(stage.weights))
  return [...weights.infos.values()].flatMap(({ name, shape }) =>
    shape.length === 1 && prefixes.some((prefix) => name.startsWith(prefix)) ? [name] : [],
  )
}

/** Whole parts that all names begin with: `model.layers.0.` */
function commonPrefix(names: readonly string[]): string {
  const [first = '', ...rest] = names
  let length = first.lastIndexOf('.')
  while (length > 0 && !rest.every((name) => name.startsWith(first.slice(0, length + 1))))
    length = first.lastIndexOf('.', length - 1)
  return first.slice(0, length + 1)
}

/** The losses of all stages in a line; nothing where none was trained. */
export function tuningNote(stages: readonly Pick<StageEntry, 'name' | 'tuning'>[]): string | undefined {
  const tuned = stages.flatMap(({ name, tuning }) => (tuning ? [{ name, ...tuning }] : []))
  if (tuned.length === 0) return undefined
  const gains = tuned.map(({ losses, kept }) => (losses[0]! === 0 ? 0 : 1 - losses[kept]! / losses[0]!))
  const mean = gains.reduce((sum, gain) => sum + gain, 0) / gains.length
  const last = tuned.at(-1)!
  const figures = `${last.losses[0]!.toPrecision(3)} to ${last.losses[last.kept]!.toPrecision(3)} in ${last.name}`
  return `training lowered the mean squared error at the outputs of ${tuned.length} ${tuned.length === 1 ? 'stage' : 'stages'} by ${(100 * mean).toFixed(1)}% on average, from ${figures}; report.json has each`
}

/** The losses of the training of the model in a line; nothing where it was not trained. */
export function modelTuningNote({ tuned }: Pick<JournalState, 'tuned'>): string | undefined {
  if (!tuned) return undefined
  const { losses, kept } = tuned
  const figures = `${losses[0]!.toPrecision(3)} to ${losses[kept]!.toPrecision(3)} nats a token`
  return `training of the whole model lowered the KL on text of the calibration from ${figures}; relative errors of layers are those before`
}

/** The same with every pass, for the report: of the stages, and of the model. */
export const tuningReport = ({ stages, tuned }: Pick<JournalState, 'stages' | 'tuned'>): TuningReport[] => [
  // What the training of the model changed again stands there.
  ...stages.flatMap(({ name, tuning }) =>
    tuning ? [{ stage: name, ...tuning, ...(tuned ? { floats: [] } : {}) }] : [],
  ),
  ...(tuned
    ? [{ stage: 'model', losses: tuned.losses, kept: tuned.kept, floats: stages.flatMap(storedFloats) }]
    : []),
]

/** Norms and biases that are in the shard of a stage, since they were trained. */
export const storedFloats = ({ floats, tuning }: Pick<StageEntry, 'floats' | 'tuning'>) =>
  floats ?? tuning?.floats ?? []
