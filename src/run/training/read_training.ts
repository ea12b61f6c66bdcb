/** From a training recipe, which nobody vouches for, to settings with every default filled in. */
import type { z } from 'zod'
import { OptionError } from '../../tensor/errors.ts'
import { checkValue, type Path, pathText, record } from '../option_fields.ts'
import { readRecipe } from '../recipe_file.ts'
import type { Place } from '../recipe_steps.ts'
import { type DataRecipe, dataSchemas, kindField } from './data_fields.ts'
import { type MethodRecipe, methodField, methodFields } from './method_fields.ts'
import { familyField, languageFamilies, type ModelRecipe, modelSchemas } from './model_fields.ts'
import {
  type OptimiserRecipe,
  optimiserField,
  optimiserSchemas,
  type ScheduleRecipe,
  scheduleField,
  scheduleSchemas,
} from './optimiser_fields.ts'
import {
  type TrainingFields,
  type TrainingRecipe,
  trainingRecipeSchema,
  trainingSchema,
} from './training_recipe.ts'

/** A recipe that is valid, with its defaults but for those that depend on the data. */
export interface TrainingSettings extends Omit<TrainingRecipe, 'train' | 'pare'> {
  seed: number
  output: string
  overwrite: boolean
  restart: boolean
  train: TrainingFields & {
    optimiser: OptimiserRecipe & { rate: number; schedule: ScheduleRecipe }
    accumulate: number
    skipAtMost: number
    methods: readonly MethodRecipe[]
    dtype: 'f32' | 'bf16' | 'f64'
    stored: 'f32' | 'bf16' | 'f16'
  }
}

/** What may be said beside a recipe, and wins over it. */
export interface TrainingOverrides {
  steps?: number
  seed?: number
  output?: string
  overwrite?: boolean
  restart?: boolean
}

/**
 * @param recipe a recipe, or the path of a `.yaml`, `.yml` or `.json` file with one
 * @throws OptionError for a file that cannot be read, and for what is not valid in it: field, place and nearest name
 */
export function readTraining(
  recipe: string | TrainingRecipe,
  { steps, ...others }: TrainingOverrides = {},
): TrainingSettings {
  const { value, place } =
    typeof recipe === 'string' ? readRecipe(recipe) : { value: recipe, place: pathText }
  const settings = { ...settingsOf(value, place), ...others }
  if (steps === undefined) return settings
  const { epochs: _, ...train } = settings.train
  return { ...settings, train: { ...train, steps } }
}

function settingsOf(value: unknown, place: Place): TrainingSettings {
  const at: Place = (path) => (path.length > 0 ? place(path) : place([]).replace(/: $/, ''))
  const { pare: _, train: fields, ...whole } = checkValue(trainingRecipeSchema, value, at)
  const inTrain: Place = (path) => at(['train', ...path])
  const train = checkValue(trainingSchema, fields, inTrain)
  const inside =
    (...front: Path): Place =>
    (path) =>
      inTrain([...front, ...path])
  const model = modelOf(train.model, inside('model'))
  const data = byName(kindField, dataSchemas, 'kind', train.data, inside('data')) as DataRecipe
  if ((train.steps === undefined) === (train.epochs === undefined))
    throw new OptionError(
      `${inTrain([])}: either steps or epochs is needed, got ${train.steps === undefined ? 'none' : 'both'}`,
      { code: 'PARE_E_FIELD', facts: { field: 'train.steps' } },
    )
  checkFit(model, data, inTrain)
  const methods = (train.methods ?? []).map((method, i) => methodOf(method, inside('methods', i)))
  if (train.average && methods.length > 0)
    throw new OptionError(
      `${inTrain(['average'])}: averages keep what masks have taken away; leave out the average, or the methods`,
      { code: 'PARE_E_FIELD', facts: { field: 'train.average' } },
    )
  return {
    output: '',
    overwrite: false,
    restart: false,
    seed: 0,
    ...(without(whole) as Partial<Omit<TrainingSettings, 'train'>>),
    train: {
      ...without(train),
      model,
      data,
      optimiser: optimiserOf(train.optimiser ?? { name: 'adamw' }, inside('optimiser')),
      accumulate: train.accumulate ?? 1,
      skipAtMost: train.skipAtMost ?? 0,
      methods,
      dtype: train.dtype ?? 'f32',
      stored: train.stored ?? 'f32',
    } as TrainingSettings['train'],
  }
}

/** A map whose fields depend on the name that one of them holds. */
function byName<Name extends string>(
  field: z.ZodType<Record<string, unknown>>,
  schemas: Readonly<Record<Name, z.ZodType>>,
  key: string,
  value: unknown,
  place: Place,
): unknown {
  const name = checkValue(field, value, place)[key] as Name
  return without(checkValue(schemas[name], value, place) as object)
}

function modelOf(value: unknown, place: Place): ModelRecipe {
  if (typeof value === 'object' && value !== null && Object.hasOwn(value, 'source'))
    return checkValue(modelSchemas.source, value, place)
  return byName(familyField, modelSchemas, 'family', value, place) as ModelRecipe
}

function methodOf(value: unknown, place: Place): MethodRecipe {
  const { method } = checkValue(methodField, value, place)
  const { method: _, ...options } = value as { method: unknown }
  return { method, ...without(checkValue(record(methodFields[method]), options, place)) } as MethodRecipe
}

function optimiserOf(value: unknown, place: Place): TrainingSettings['train']['optimiser'] {
  const { schedule = { name: 'constant' }, ...optimiser } = byName(
    optimiserField,
    optimiserSchemas,
    'name',
    value,
    place,
  ) as OptimiserRecipe
  const inSchedule: Place = (path) => place(['schedule', ...path])
  const checked = byName(scheduleField, scheduleSchemas, 'name', schedule, inSchedule) as ScheduleRecipe
  if (checked.name === 'step') checkMilestones(checked, inSchedule)
  return { rate: 1e-3, ...optimiser, schedule: checked }
}

function checkMilestones(
  { milestones, warmUp = 0 }: Extract<ScheduleRecipe, { name: 'step' }>,
  place: Place,
): void {
  const wrong = milestones.findIndex((at, i) => at <= (milestones[i - 1] ?? warmUp))
  if (wrong < 0) return
  const behind = wrong === 0 ? `the ${warmUp} of the warm-up` : `${milestones[wrong - 1]}`
  throw new OptionError(
    `${place(['milestones', wrong])}: a step behind ${behind} is needed, got ${milestones[wrong]}`,
    { code: 'PARE_E_FIELD', facts: { field: pathText(['milestones', wrong]) } },
  )
}

/** Families read texts or images. */
function checkFit(model: ModelRecipe, data: DataRecipe, place: Place): void {
  const refuse = (path: Path, what: string) => {
    throw new OptionError(`${place(path)}: ${what}`, {
      code: 'PARE_E_FIELD',
      facts: { field: pathText(path) },
    })
  }
  if (data.kind === 'text') {
    const { validation = {}, tokenizer } = data
    if (validation.files && (validation.every !== undefined || validation.tail !== undefined))
      refuse(['data', 'validation'], 'files are held out whole; leave out every and tail')
    if ('family' in model && tokenizer === undefined)
      refuse(
        ['data', 'tokenizer'],
        'a new model needs a tokenizer: a map with a vocabulary, or the folder of one',
      )
  }
  if (!('family' in model)) return
  const isLanguage = languageFamilies.includes(model.family)
  if (isLanguage && data.kind !== 'text')
    refuse(['data', 'kind'], `${model.family} learns from text, got ${data.kind}`)
  if (!isLanguage && data.kind === 'text')
    refuse(['data', 'kind'], `${model.family} learns from images, got text`)
}

/** A record without the fields that are undefined. */
const without = <Fields extends object>(fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Fields
