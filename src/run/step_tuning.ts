/** The training of stages that the steps of a compression ask for. */
import type { StageTuner } from '../calibrate/stage_tuner.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import { OptionError } from '../tensor/errors.ts'
import type { StageEntry } from './journal.ts'
import { flagName } from './option_fields.ts'
import type { TuningReport } from './report.ts'
import { stepMethod } from './step_methods.ts'
import { stepsByName } from './step_sequence.ts'
import type { ResolvedStep } from './weight_step.ts'

/**
 * What trains the stages of a run; nothing where no step asks for it. A stage is trained once, with one target, so that
 * steps that ask for it must ask for the same; and what they stored must be what is stored in the end.
 *
 * @param names of all linear weights
 * @throws OptionError PARE_E_TUNING for steps of which that is not so
 */
export function tunerOf(
  steps: readonly ResolvedStep[],
  names: readonly string[],
  seed: number,
): StageTuner | undefined {
  const tuned = steps.flatMap((step, index) => {
    const tuner = stepMethod(step.method).training?.tuner({ ...step.own, seed })
    return tuner ? [{ step, index, tuner }] : []
  })
  const [first] = tuned
  if (!first) return undefined
  const refused = ({ at, method }: ResolvedStep, what: string) =>
    new OptionError(`${at}: ${method} ${what}`, { code: 'PARE_E_TUNING', facts: { method } })
  const other = tuned.find(({ step }) => askedOf(step) !== askedOf(first.step))
  if (other)
    throw refused(
      other.step,
      `trains each block, and ${first.step.at} (${first.step.method}) does with other options; ask for the same in both, or leave the training of one out with ${withoutTraining(other.step)}`,
    )
  for (const [name, own] of stepsByName(steps, names)) {
    const early = tuned.find(({ index }) => own.includes(index) && own.at(-1) !== index)
    if (early)
      throw refused(
        early.step,
        `trains what is stored, and a later step changes ${name}; put it last, or leave the training out with ${withoutTraining(early.step)}`,
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
    const { floats, tuner } = stepMethod(method).training ?? {}
    return floats && tuner!(own) !== undefined
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

/** What a step asks of the training, as text. */
const askedOf = ({ method, own }: ResolvedStep): string =>
  JSON.stringify([method, ...stepMethod(method).training!.options.map((name) => own[name] ?? null)])

const withoutTraining = ({ method }: ResolvedStep): string =>
  `${flagName(stepMethod(method).training!.options[0])} 0`

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

/** The same with every pass, for the report. */
export const tuningReport = (stages: readonly Pick<StageEntry, 'name' | 'tuning'>[]): TuningReport[] =>
  stages.flatMap(({ name, tuning }) => (tuning ? [{ stage: name, ...tuning }] : []))
