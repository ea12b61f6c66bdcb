/**
 * GPTQ against round to nearest on float models, which SmolLM2 on its 4-bit grid is not: 8, 4, 3 and 2 bits with a range a
 * row and groups of 128 and 32.
 */
import type { Claim } from './experiment.ts'
import { sources } from './gptq_result.ts'
import { oneShotExperiment, rowsOf, step } from './one_shot_experiment.ts'
import type { OneShotRun } from './one_shot_measure.ts'
import { lostOrders, nameOf, ordered, ratios } from './one_shot_page.ts'
import { mean } from './spread.ts'

type Group = number | 'row'
const of = (method: 'gptq' | 'rtn', bits: number, groupSize: Group) => [step(method, { bits, groupSize })]
const pair = (model: string, bits: number, groupSize: Group) =>
  rowsOf(model, of('gptq', bits, groupSize), of('rtn', bits, groupSize))
const groups: readonly Group[] = [128, 'row', 32]
const models = ['lm-6m', 'pare-4m']

export const gptqFloats = oneShotExperiment({
  name: 'gptq_floats',
  title: 'GPTQ against round to nearest on float models',
  sources,
  systems: [],
  rows: [
    ...models.flatMap((model) => groups.flatMap((group) => pair(model, 4, group))),
    ...models.flatMap((model) =>
      [3, 2].flatMap((bits) => groups.flatMap((group) => pair(model, bits, group))),
    ),
    ...models.flatMap((model) => rowsOf(model, of('rtn', 8, 128), of('gptq', 8, 128))),
    ...['lm-6m-gqa', 'lm-2m'].flatMap((model) => [4, 3, 2].flatMap((bits) => pair(model, bits, 64))),
  ],
  quick: pair('pare-4m', 3, 128),
  claims: (runs) => models.flatMap((model) => claimsOf(runs, model)),
  failures: (runs) =>
    lostOrders(runs, [{ lower: nameOf(of('gptq', 3, 128)), higher: nameOf(of('rtn', 3, 128)), ratio: 0.9 }]),
  remarks:
    'GPTQ sweeps with act-order and static groups, its default; both round to the same grids, with zeros.',
})

function claimsOf(runs: readonly OneShotRun[], model: string): Claim[] {
  return [
    ...[4, 3, 2].map((bits) => everywhere(runs, model, bits)),
    growing(runs, model),
    ordered(runs, {
      text: `${model}: at 8 bits GPTQ loses less too.`,
      model,
      names: [nameOf(of('gptq', 8, 128)), nameOf(of('rtn', 8, 128))],
    }),
  ]
}

const found = (runs: readonly OneShotRun[], model: string, bits: number, group: Group) =>
  ratios(runs, { model, lower: nameOf(of('gptq', bits, group)), higher: nameOf(of('rtn', bits, group)) })

function everywhere(runs: readonly OneShotRun[], model: string, bits: number): Claim {
  const text = `${model}: at ${bits} bits GPTQ loses less than round to nearest, whatever the group.`
  const all = groups.map((group) => found(runs, model, bits, group))
  if (all.some((each) => each.length === 0)) return { text, found: 'not run' }
  const show = (each: readonly number[]) => each.map((ratio) => ratio.toFixed(3)).join(', ')
  return {
    text,
    holds: all.flat().every((ratio) => ratio < 1),
    found: `${groups.map((group, i) => `${show(all[i]!)} of its KL with ${group === 'row' ? 'a range a row' : `groups of ${group}`}`).join('; ')} (one a seed)`,
  }
}

/** In nats, since that is what a user loses. */
function growing(runs: readonly OneShotRun[], model: string): Claim {
  const text = `${model}: with groups of 128 the gap in KL grows from 4 bits to 3 and to 2.`
  const gaps = [4, 3, 2].map((bits) => {
    const kl = (method: 'gptq' | 'rtn') =>
      runs
        .filter((run) => run.model === model && run.name === nameOf(of(method, bits, 128)))
        .map((run) => run.kl)
    return kl('gptq').length > 0 && kl('rtn').length > 0 ? mean(kl('rtn')) - mean(kl('gptq')) : undefined
  })
  if (gaps.includes(undefined)) return { text, found: 'not run' }
  const [four, three, two] = gaps as [number, number, number]
  return {
    text,
    holds: four < three && three < two,
    found: `${gaps.map((gap) => gap!.toPrecision(3)).join(', ')} nats`,
  }
}
