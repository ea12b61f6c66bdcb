/**
 * The mix that needs no measurement: the same level for all matrices, the largest that fits a size, and the next one for
 * matrices in the order of the file as long as they fit too.
 */
import { levelLabel, type MixChoice, type MixSpace } from './mix_space.ts'

export interface UniformMix {
  /** `uniform mix: Q4_K, 31 of 210 matrices Q5_K` */
  name: string
  chosen: MixChoice[]
}

/** Nothing where already the smallest of the levels is too large for all matrices. */
export function uniformMix(space: MixSpace, bytes: number): UniformMix | undefined {
  const { items } = space
  const steps = Math.max(...items.map(({ ladder }) => ladder.length))
  // A matrix that not all levels fit has fewer of them.
  const at = (step: number) => items.map(({ ladder }) => ladder[Math.min(step, ladder.length - 1)]!)
  const cost = (chosen: readonly MixChoice[]) => chosen.reduce((sum, choice) => sum + choice.cost, 0)
  const ladder = Array.from({ length: steps }, (_, step) => at(step)).toSorted((a, b) => cost(a) - cost(b))
  const base = ladder.findLastIndex((chosen) => space.planOf(chosen).fileBytes <= bytes)
  if (base < 0) return undefined
  const next = ladder[base + 1]
  const chosen = [...ladder[base]!]
  const groups: (readonly number[])[] = []
  let room = bytes - space.planOf(chosen).fileBytes
  for (const group of next ? space.groups : []) {
    const more = group.reduce((sum, i) => sum + next![i]!.cost - chosen[i]!.cost, 0)
    if (more <= 0 || more > room) continue
    room -= more
    for (const i of group) chosen[i] = next![i]!
    groups.push(group)
  }
  // What names and offsets take more than before may be too much.
  while (groups.length > 0 && space.planOf(chosen).fileBytes > bytes)
    for (const last of groups.pop()!) chosen[last] = ladder[base]![last]!
  const raised = groups.flat()
  const main = levelLabel(mostUsed(ladder[base]!))
  const more =
    raised.length === 0
      ? ''
      : `, ${raised.length} of ${items.length} matrices ${levelLabel(mostUsed(raised.map((i) => chosen[i]!)))}`
  return { name: `uniform mix: ${main}${more}`, chosen }
}

/** The same, or the smallest levels where there is none. */
export const uniformChoices = (space: MixSpace, bytes: number): readonly MixChoice[] =>
  uniformMix(space, bytes)?.chosen ?? space.items.map(({ choices }) => choices[0]!)

/** Stand-ins are named for what most matrices have. */
function mostUsed(chosen: readonly MixChoice[]): string {
  const weights = new Map<string, number>()
  for (const { level, cost } of chosen) weights.set(level, (weights.get(level) ?? 0) + cost)
  return [...weights].toSorted(([, a], [, b]) => b - a)[0]![0]
}
