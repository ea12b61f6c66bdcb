/** Several steps as one method: each weight goes through the steps that take it, in their order. */
import type { WeightMethod } from '../calibrate/method.ts'
import { mainTypeOf } from '../models/write/gguf_mix.ts'
import { isCodedType, typeForRow } from '../nn/block_types.ts'
import type { Grid } from '../nn/grid.ts'
import { patternMatches } from '../nn/name_pattern.ts'
import { quantizers } from '../quantize/methods.ts'
import { weightedRtn } from '../quantize/weighted_rtn.ts'
import { scope } from '../tensor/index.ts'
import type { ResolvedStep } from './weight_step.ts'

/** The indices of the steps that take each name. */
export function stepsByName(
  steps: readonly ResolvedStep[],
  names: readonly string[],
): Map<string, readonly number[]> {
  const taken = steps.map(({ only, at }) => {
    const matches = only?.map((pattern) => patternMatches(`${at}.only`, pattern, names))
    return names.map((_, name) => matches?.some((found) => found[name]) ?? true)
  })
  return new Map(names.map((name, i) => [name, steps.flatMap((_, step) => (taken[step]![i] ? [step] : []))]))
}

/**
 * Each step sees as `current` what the one before made of the weight. The last one rounds to the grid of the task,
 * which is that of the plan, those before it to their own. Rounding to nearest takes the importance of inputs into
 * account where it is known.
 */
export function stepsAsMethod(
  steps: readonly ResolvedStep[],
  names: readonly string[],
  importance?: ReadonlyMap<string, Float32Array>,
): WeightMethod {
  const methods = steps.map((step) =>
    step.method === 'rtn' && importance ? weightedRtn(importance) : methodOf(step),
  )
  const byName = stepsByName(steps, names)
  const used = new Set([...byName.values()].flat())
  return {
    name: [...new Set(methods.map(({ name }) => name))].join('+'),
    needs: [...new Set(methods.flatMap(({ needs }, step) => (used.has(step) ? needs : [])))],
    compress(task) {
      const own = byName.get(task.name)!
      const notes: string[] = []
      let { current } = task
      for (const step of own.slice(0, -1)) {
        const grid = ownGrid(steps[step]!, current.extent(1))
        if (!grid) continue
        current = scope(() => {
          const { decoded, source, diagnostics } = methods[step]!.compress({ ...task, current, grid })
          notes.push(...diagnostics.notes.map((note) => `${steps[step]!.method}: ${note}`))
          return decoded ?? source.dense()
        })
      }
      const edit = methods[own.at(-1)!]!.compress({ ...task, current })
      return {
        ...edit,
        diagnostics: { ...edit.diagnostics, notes: [...notes, ...edit.diagnostics.notes] },
      }
    },
  }
}

function methodOf({ method, damping, actOrder, staticGroups, onSingular }: ResolvedStep): WeightMethod {
  // Each factory reads the options that it knows.
  const make: (options: object) => WeightMethod = quantizers[method]
  return make({ damping, actOrder, staticGroups, onSingular })
}

/** What a step rounds to for itself; nothing where no block type fits the row. */
function ownGrid({ scheme, grid }: ResolvedStep, columns: number): Grid | undefined {
  if (scheme === undefined) return grid
  // What a mix gives a tensor is what is stored in the end.
  const type = typeForRow(mainTypeOf(scheme), columns)
  return isCodedType(type) ? { kind: 'blocks', type } : undefined
}
