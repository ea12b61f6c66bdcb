/**
 * Weights that a method changed more than rounding to their type does: floats, as those of pruning are, and codes of what an
 * earlier step rounded to fewer bits. They hold what was computed, which their digests tell; how far they may be from the
 * source, and logits with them, no type tells.
 */
import type { OpenModel } from '../../models/open_model.ts'
import { printable } from '../../tensor/errors.ts'
import { codeBits, farthest } from './bounds.ts'
import { readWeight } from './read_weight.ts'
import { familyWeights, nameIn } from './weight_names.ts'

/**
 * Says which they are, in words for the reason why no bound holds; nothing where rounding explains all of them.
 *
 * @param computed names of the weights that have the digest that was computed; others were compared with the source
 * @example changedWeights(result, source, computed)  // '7 weights were changed by their method (... 71.2% from the source)'
 */
export function changedWeights(
  result: OpenModel,
  source: OpenModel,
  computed: ReadonlySet<string>,
): string | undefined {
  const others = familyWeights(source)
  const matrices = new Set<string>(result.model.stages.flatMap(({ weights }) => weights))
  let [count, most, mostName] = [0, 0, '']
  for (const [plain, name] of familyWeights(result)) {
    const otherName = computed.has(name) ? nameIn(others, plain) : undefined
    if (otherName === undefined) continue
    const bound = farthest(result, name, source.weights.infos.get(otherName)!)
    if (!bound) continue
    const weight = { weights: result.weights, name, isMatrix: matrices.has(name) }
    const { error = 0 } = readWeight(weight, { other: { weights: source.weights, name: otherName } })
    if (error <= bound.rounding) continue
    count++
    if (!(error <= most)) [most, mostName] = [error, name]
  }
  if (count === 0) return undefined
  const percent = `${(100 * most).toPrecision(3)}%`
  return `${count === 1 ? '1 weight was' : `${count} weights were`} changed by their method, at most by ${percent} (${printable(mostName)}), so that no type tells how far they may be`
}

/** The same where the source was rewritten before: floats may be anything then, and only codes tell how far they may be. */
export function rewrittenFloats({ model, weights }: OpenModel, by: string): string | undefined {
  const matrices = model.stages.flatMap((stage) => stage.weights)
  return matrices.every((name) => codeBits(weights.infos.get(name)!.type) !== undefined)
    ? undefined
    : `${printable(by)} rewrote the source, so that no type tells how far floats may be`
}
