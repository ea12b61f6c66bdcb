/** Several steps as one method: each weight goes through the steps that take it, in their order. */
import type { LayerMethod, LayerTask } from '../calibrate/method.ts'
import { mainTypeOf } from '../models/write/gguf_mix.ts'
import { isCodedType, typeForRow } from '../nn/block_types.ts'
import type { Grid } from '../nn/grid.ts'
import { patternMatches } from '../nn/name_pattern.ts'
import type { StoredSource, StoredValues } from '../nn/values/values.ts'
import type { WeightSource } from '../nn/weight_source.ts'
import { maskedQuantizer } from '../quantize/masked_gptq.ts'
import { weightedRtn } from '../quantize/weighted_rtn.ts'
import { scope } from '../tensor/index.ts'
import { stepMethod } from './step_methods.ts'
import { type ResolvedStep, sharedFields } from './weight_step.ts'

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
 * Each step sees as `current` what the one before made of the weight, with what it pruned. The last one rounds to the
 * grid of the task, which is that of the plan, those before it to their own. Rounding to nearest takes the importance of
 * inputs into account where it is known.
 */
export function stepsAsMethod(
  steps: readonly ResolvedStep[],
  names: readonly string[],
  {
    importance,
    seed = 0,
  }: { importance?: ReadonlyMap<string, Float32Array> | undefined; seed?: number } = {},
): LayerMethod {
  const methods = steps.map((step) =>
    step.method === 'rtn' && importance ? weightedRtn(importance) : methodOf(step, seed),
  )
  const byName = stepsByName(steps, names)
  const used = new Set([...byName.values()].flat())
  return {
    name: [...new Set(methods.map(({ name }) => name))].join('+'),
    needs: [...new Set(methods.flatMap(({ needs }, step) => (used.has(step) ? needs : [])))],
    compress(task) {
      const own = byName.get(task.name)!
      const notes: string[] = []
      let before: Pick<LayerTask, 'current' | 'mask' | 'before'> = { current: task.current }
      for (const step of own.slice(0, -1)) {
        const grid = ownGrid(steps[step]!, task.current.extent(1))
        if (!grid && steps[step]!.scheme !== undefined) continue
        before = scope(() => {
          const edit = methodFor(steps[step]!, methods[step]!, before.mask).compress({
            ...task,
            ...before,
            grid,
          })
          notes.push(...edit.diagnostics.notes.map((note) => `${steps[step]!.method}: ${note}`))
          const mask = edit.mask ?? before.mask
          return {
            current: edit.decoded ?? edit.source.dense(),
            before: valuesOf(edit.source),
            ...(mask ? { mask } : {}),
          }
        })
      }
      const last = own.at(-1)!
      const edit = methodFor(steps[last]!, methods[last]!, before.mask).compress({
        ...task,
        grid: task.grid ?? ownGrid(steps[last]!, task.current.extent(1)),
        ...before,
      })
      return {
        ...edit,
        // Steps of one method may say the same.
        diagnostics: {
          ...edit.diagnostics,
          notes: [...new Set([...notes, ...edit.diagnostics.notes])],
        },
      }
    },
  }
}

/** How a weight is stored that a method made. */
function valuesOf(source: WeightSource): StoredValues {
  const { values } = source as Partial<StoredSource>
  return values ?? { kind: 'dense', numbers: source.dense() }
}

/** @throws OptionError for what its options cannot be together */
export function methodOf(step: ResolvedStep, seed: number): LayerMethod {
  const { method, own } = step
  const facts = stepMethod(method)
  const names = facts.kind === 'quantizer' ? sharedFields : []
  const shared = Object.fromEntries(names.map((name) => [name, step[name]]))
  return facts.make({ ...shared, ...own, seed })
}

/** Quantisers leave what is pruned at 0. */
function methodFor(step: ResolvedStep, method: LayerMethod, mask: Uint8Array | undefined): LayerMethod {
  const { method: name, damping, actOrder, staticGroups, onSingular } = step
  if (!mask || (name !== 'gptq' && name !== 'rtn')) return method
  return maskedQuantizer(name, name === 'gptq' ? { damping, actOrder, staticGroups, onSingular } : {})
}

/** What a step rounds to for itself; nothing where no block type fits the row. */
function ownGrid({ scheme, grid }: ResolvedStep, columns: number): Grid | undefined {
  if (scheme === undefined) return grid
  // What a mix gives a tensor is what is stored in the end.
  const type = typeForRow(mainTypeOf(scheme), columns)
  return isCodedType(type) ? { kind: 'blocks', type } : undefined
}
