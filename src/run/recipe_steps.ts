/** Nested steps of a recipe as one list. */
import { z } from 'zod'
import { OptionError, printable } from '../tensor/errors.ts'
import { checkValue, type Path, record, stepSchema } from './option_fields.ts'
import type { Value } from './recipe.ts'
import type { WeightStep } from './weight_step.ts'

/** Steps that a recipe may come to. */
export const mostSteps = 256
/** Groups inside of groups. */
const deepest = 16

const stepsNeed = 'a list of one step or more'
const steps = z.array(z.unknown(), { error: stepsNeed }).min(1, { error: stepsNeed })
const timesNeed = `a whole number from 1 to ${mostSteps}`
const repeatSchema = record({
  repeat: record({
    times: z.int({ error: timesNeed }).min(1, { error: timesNeed }).max(mostSteps, { error: timesNeed }),
    steps,
  }),
})
const valuesNeed = `a list of 1 to ${mostSteps} texts, numbers, or true and false`
const nameNeed = 'a name of letters, digits and _'
const forEachSchema = record({
  forEach: record({
    name: z.string({ error: nameNeed }).regex(/^[A-Za-z_]\w{0,63}$/, { error: nameNeed }),
    values: z
      .array(
        z.union([z.string().max(512), z.number(), z.boolean()], { error: 'a text, a number, true or false' }),
        {
          error: valuesNeed,
        },
      )
      .min(1, { error: valuesNeed })
      .max(mostSteps, { error: valuesNeed }),
    steps,
  }),
})

/** Where a path of the recipe stands, for messages: `recipe.yaml:7: steps[0]`. */
export type Place = (path: Path, key?: string) => string

/**
 * The weight steps in the order in which they run.
 *
 * @throws OptionError for a step that is not valid, and for more than 256 of them.
 */
export function flattenSteps(value: unknown, place: Place): WeightStep[] {
  const result: WeightStep[] = []
  const add = (list: readonly unknown[], path: Path, names: ReadonlyMap<string, Value>) => {
    if (path.length > 3 * deepest)
      throw new OptionError(`${place(path)}: groups of steps nest at most ${deepest} deep; write them out`)
    for (const [index, step] of list.entries()) addStep(step, [...path, index], names)
  }
  const addStep = (step: unknown, path: Path, names: ReadonlyMap<string, Value>) => {
    const at = (inner: Path) => place([...path, ...inner])
    if (has(step, 'repeat')) {
      const { repeat } = checkValue(repeatSchema, step, at)
      for (let i = 0; i < repeat.times; i++) add(repeat.steps, [...path, 'repeat', 'steps'], names)
    } else if (has(step, 'forEach')) {
      const { forEach } = checkValue(forEachSchema, step, at)
      for (const each of forEach.values)
        add(forEach.steps, [...path, 'forEach', 'steps'], new Map([...names, [forEach.name, each]]))
    } else {
      if (result.length === mostSteps)
        throw new OptionError(
          `${at([])}: a recipe has at most ${mostSteps} steps with all repetitions; repeat less, or use overrides`,
          { code: 'PARE_E_STEPS', facts: { steps: mostSteps } },
        )
      const filled = withValues(step, names, at)
      result.push({ ...(checkValue(stepSchema, filled, at) as WeightStep), at: at([]) })
    }
  }
  const at = (inner: Path) => place(['steps', ...inner])
  add(checkValue(steps, value, at), ['steps'], new Map())
  return result
}

const has = (step: unknown, key: string): boolean =>
  typeof step === 'object' && step !== null && !Array.isArray(step) && Object.hasOwn(step, key)

/** A step with the values of the names that its texts hold; a text that is one name becomes the value itself. */
function withValues(value: unknown, names: ReadonlyMap<string, Value>, at: Place): unknown {
  const known = (name: string, path: Path): Value => {
    const found = names.get(name)
    if (found !== undefined) return found
    const all = names.size === 0 ? 'none' : [...names.keys()].join(', ')
    throw new OptionError(
      `${at(path)}: \${${printable(name)}} is the name of no forEach around it (${all}); name one or leave it out`,
      { code: 'PARE_E_FIELD', facts: { field: at(path) } },
    )
  }
  const fill = (part: unknown, path: Path): unknown => {
    if (typeof part === 'string') {
      const [, whole] = /^\$\{([^}]*)\}$/.exec(part) ?? []
      if (whole !== undefined) return known(whole, path)
      return part.replace(/\$\{([^}]*)\}/g, (_, name: string) => String(known(name, path)))
    }
    // Steps are flat but for their lists of patterns.
    if (path.length > 1 || typeof part !== 'object' || part === null) return part
    if (Array.isArray(part)) return part.map((item, i) => fill(item, [...path, i]))
    return Object.fromEntries(Object.entries(part).map(([key, item]) => [key, fill(item, [...path, key])]))
  }
  return fill(value, [])
}
