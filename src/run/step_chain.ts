/** What the steps of a weight make together, known before anything is computed. */
import type { PareWeight } from '../formats/pare_weight.ts'
import { OptionError } from '../tensor/errors.ts'
import { stepMethod } from './step_methods.ts'
import type { ChosenTarget } from './targets.ts'
import type { ResolvedStep } from './weight_step.ts'

/**
 * @returns the steps
 * @throws OptionError for steps that repair nothing, and for what the target cannot hold.
 */
export function checkChain<Steps extends readonly ResolvedStep[]>(
  steps: Steps,
  { name, facts }: ChosenTarget,
): Steps {
  for (const [index, step] of steps.entries()) {
    const method = stepMethod(step.method)
    const { kind } = method
    if (kind === 'repair' && index === 0)
      throw new OptionError(
        `${step.at}: ${step.method} repairs what another step has done; put it behind one, as in --method gptq --then ${step.method}`,
        { code: 'PARE_E_STEP_ORDER', facts: { method: step.method } },
      )
    if (facts.trees) continue
    const refused = (what: string, wayOut: string) =>
      new OptionError(`${step.at}: ${step.method} ${what}, which ${facts.title} does not hold; ${wayOut}`, {
        code: 'PARE_E_STORED_FORM',
        facts: { method: step.method, target: name },
      })
    if (kind === 'coder' || kind === 'repair')
      throw refused('stores weights in a form of its own', 'choose --target pare')
    if (kind === 'quantizer' && !method.blocks && facts.weights === 'blocks')
      throw refused('rounds to evenly spaced levels', 'use --method gptq, or choose another target')
    if (kind !== 'pruner') continue
    if (facts.weights === 'blocks') throw refused('makes zeros that must stay 0', 'choose --target pare')
    const rounded =
      step.grid !== undefined || steps.slice(index + 1).some((later) => later.grid !== undefined)
    if (!rounded) throw refused('leaves floats', 'add --then gptq, or choose --target pare')
  }
  return steps
}

/** The methods in their order, each once where it repeats: `sparsegpt, then gptq`. */
export const chainText = (steps: readonly Pick<ResolvedStep, 'method'>[]): string =>
  [...new Set(steps.map(({ method }) => method))].join(', then ')

/** Whether what the steps make is more than codes of the grid of the last one. */
export const makesTree = (steps: readonly ResolvedStep[]): boolean =>
  steps.some(({ method }) => stepMethod(method).kind !== 'quantizer')

/**
 * How a Pare folder stores what the steps make of a weight; where data decides how much it takes, about so much.
 *
 * @throws OptionError for a step that cannot follow the one before it.
 */
export function formOf(steps: readonly ResolvedStep[], shape: readonly [number, number]): PareWeight {
  let form: PareWeight | undefined
  let kept: number | undefined
  for (const step of steps) {
    const method = stepMethod(step.method)
    switch (method.kind) {
      case 'quantizer':
        form = kept === undefined ? gridForm(step, shape) : maskedForm(step, shape, kept)
        break
      case 'pruner': {
        const left = method.kept(shape, step.own)
        kept = kept === undefined ? left : Math.min(kept, left)
        form = step.grid
          ? maskedForm(step, shape, kept)
          : { kind: 'bitmask', shape: [...shape], kept, numberType: step.own.numbers ?? 'f16' }
        break
      }
      case 'coder':
        if (kept !== undefined)
          throw cannotFollow(step, 'zeros of a pruning step, which its form does not keep')
        form = method.form(shape, step.own)
        break
      case 'repair':
        if (form === undefined) throw cannotFollow(step, 'no step that takes this weight')
        form = method.form(shape, step.own, form)
    }
  }
  return form!
}

function gridForm(
  { grid, actOrder, staticGroups }: ResolvedStep,
  shape: readonly [number, number],
): PareWeight {
  const { bits, groupSize, symmetric, scaleType } = grid!
  return {
    kind: 'grid',
    shape: [...shape],
    bits,
    groupSize,
    symmetric,
    scaleType,
    sorted: actOrder && !staticGroups,
  }
}

function maskedForm(step: ResolvedStep, shape: readonly [number, number], kept: number): PareWeight {
  const { bits, groupSize, symmetric, scaleType } = step.grid!
  const sorted = step.actOrder && !step.staticGroups
  return { kind: 'masked_grid', shape: [...shape], kept, bits, groupSize, symmetric, scaleType, sorted }
}

const cannotFollow = ({ method, at }: ResolvedStep, what: string) =>
  new OptionError(`${at}: ${method} stands behind ${what}; change the order of the steps, or leave one out`, {
    code: 'PARE_E_STEP_ORDER',
    facts: { method },
  })
