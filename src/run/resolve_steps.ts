/** The steps of a compression in their order: transforms of the model first, then what is done to its weights. */
import { OptionError, printable } from '../tensor/errors.ts'
import type { CompressOptions } from './compress_options.ts'
import { checkValue, flagName, pathText, stepFields, stepSchema } from './option_fields.ts'
import { type OwnFieldName, ownFieldNames } from './own_fields.ts'
import { checkChain } from './step_chain.ts'
import { isTransform, stepMethod } from './step_methods.ts'
import { methodOf } from './step_sequence.ts'
import type { ChosenTarget } from './targets.ts'
import { type TransformName, transforms as transformTable } from './transforms.ts'
import {
  checkRead,
  gridFields,
  type Label,
  type ResolvedStep,
  type ResolvedTransform,
  resolveStep,
  type WeightStep,
} from './weight_step.ts'

/** Transforms come first. */
interface ResolvedSteps {
  transforms: readonly ResolvedTransform[]
  steps: [ResolvedStep, ...ResolvedStep[]]
}

/** A step with all that was said to it. */
interface SaidStep {
  step: WeightStep
  /** What is said beside all steps. */
  typed: WeightStep
  label: Label
  at: string
}

/**
 * The steps of the options, each with what holds for all of them. A transform that is last is followed by rounding to
 * nearest, with what it was told of a grid.
 */
export function resolveSteps(options: CompressOptions, target: ChosenTarget): ResolvedSteps {
  const said = saidSteps(options)
  const first = said.findIndex(({ step }) => !isTransform(step.method ?? 'gptq'))
  const before = first < 0 ? said : said.slice(0, first)
  const late = said.slice(before.length).find(({ step }) => isTransform(step.method ?? 'gptq'))
  if (late)
    throw new OptionError(
      `${late.at}: ${late.step.method} rewrites the model before its weights are compressed; put it before the other steps, as in --method ${late.step.method} --then gptq`,
      { code: 'PARE_E_STEP_ORDER', facts: { method: late.step.method! } },
    )
  const [last] = before.slice(-1)
  const weights = first < 0 ? [roundingBehind(last!)] : said.slice(first)
  const transforms = before.map((transform) =>
    resolveTransform(first < 0 && transform === last ? withoutRounding(transform) : transform),
  )
  const steps = weights.map(({ step, label, at }) =>
    withPossibleOptions(resolveStep(step, target, label, at)),
  )
  const blind = transforms.find(({ method }) => transformTable[method].forGrid)
  if (blind && !steps.some(({ grid, scheme }) => grid ?? scheme))
    throw new OptionError(
      `${blind.at}: ${blind.method} searches scales for a grid, and no step behind it rounds to one; put rtn, gptq, obq or omniquant behind it, or leave it out`,
      { code: 'PARE_E_STEP_ORDER', facts: { method: blind.method } },
    )
  return { transforms, steps: checkChain(steps as [ResolvedStep, ...ResolvedStep[]], target) }
}

/** The same step. @throws OptionError for what its method and its training refuse, before anything is read */
function withPossibleOptions(step: ResolvedStep): ResolvedStep {
  const { method, own, at } = step
  try {
    methodOf(step, 0)
    const { training, modelTraining } = stepMethod(method)
    training?.tuner(own)
    modelTraining?.tuner(own)
    return step
  } catch (error) {
    if (!(error instanceof OptionError)) throw error
    const { message, code, facts, cause } = error
    const subject = message.startsWith(method) || message.startsWith('--') ? '' : `${method}: `
    throw new OptionError(`${at}: ${subject}${message}`, { code, facts: { method, ...facts }, cause })
  }
}

/** Rounding to nearest, with what a transform was told of a grid. */
const roundingBehind = ({ step, typed, ...said }: SaidStep): SaidStep => ({
  ...said,
  typed,
  step: { method: 'rtn', ...pick({ ...step, ...typed }, roundingFields) },
})
const withoutRounding = ({ step, ...said }: SaidStep): SaidStep => ({
  ...said,
  step: Object.fromEntries(
    Object.entries(step).filter(([name]) => !roundingFields.some((field) => field === name)),
  ),
})
const roundingFields = [...gridFields, 'only'] as const

function resolveTransform({ step, label, at }: SaidStep): ResolvedTransform {
  const method = step.method as TransformName
  checkRead(step, method, label)
  if (step.only !== undefined)
    throw new OptionError(
      `${label('only')}: ${method} rewrites the whole model; leave it out, or put it at the step behind it`,
      { code: 'PARE_E_FIELD', facts: { field: 'only', method } },
    )
  return { method, own: pick(step, ownFieldNames), at }
}

/** The fields of these names that are there. */
const pick = <Name extends keyof WeightStep>(step: WeightStep, names: readonly Name[]) =>
  Object.fromEntries(names.flatMap((name) => (step[name] === undefined ? [] : [[name, step[name]]]))) as Pick<
    WeightStep,
    Name
  >

function saidSteps(options: CompressOptions): SaidStep[] {
  const typed = Object.fromEntries(
    Object.keys(stepFields).flatMap((name) => {
      const value = options[name as keyof typeof stepFields]
      return value === undefined ? [] : [[name, value]]
    }),
  ) as WeightStep
  if (options.steps === undefined) return [{ step: typed, typed, label: flagName, at: 'steps[0]' }]
  if (options.steps.length === 0)
    throw new OptionError(
      'steps: a list of one step or more is needed, got an empty one; leave it out for gptq',
    )
  return options.steps.map((said, index) => {
    if (typeof said !== 'object' || said === null || Array.isArray(said))
      throw new OptionError(
        `steps[${index}]: a step is an object such as { method: 'gptq', bits: 4 }, got ${printable(String(said))}`,
      )
    const { at, ...step } = said
    const place = at ?? `steps[${index}]`
    const checked = checkValue(stepSchema, step, (path) => `${place}.${pathText(path)}`) as WeightStep
    const label: Label = (field) => (Object.hasOwn(typed, field) ? flagName(field) : `${place}.${field}`)
    // What a transform does not read is said to the steps behind it.
    const method = typed.method ?? checked.method ?? 'gptq'
    const own = isTransform(method)
      ? pick(typed, ['method', ...(Object.keys(stepMethod(method).options) as OwnFieldName[])])
      : typed
    return { step: { ...checked, ...own }, typed, label, at: place }
  })
}
