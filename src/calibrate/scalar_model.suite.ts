/** A model of scalar weights that can be walked by head, and a visitor that halves them. */
import { numbers } from '../models/llama/fixtures.suite.ts'
import type { Segment, Stage, StagePlan } from '../models/stage.ts'
import { Linear } from '../nn/linear.ts'
import { denseSource } from '../nn/weight_source.ts'
import { tensor } from '../tensor/index.ts'
import type { WalkModel, WalkVisitor } from './walk.ts'

/** A stage of two scalar weights: mid = a x, out = x + b mid. */
function scalarStage(index: number, a: number, b: number): StagePlan {
  const name = (part: string) => `${index}.${part}`
  return {
    name: `stage.${index}`,
    weights: [name('a'), name('b')],
    load(): Stage {
      const linear = (part: string, weight: number) =>
        new Linear(name(part), denseSource(tensor([weight], [1, 1])))
      const [first, second] = [linear('a', a), linear('b', b)]
      const segments: Segment[] = [
        {
          linears: [first],
          input: ({ hidden }) => hidden!,
          run: ({ hidden }, x) => ({ hidden: hidden!, mid: first.forward(x) }),
        },
        {
          linears: [second],
          input: ({ mid }) => mid!,
          run: ({ hidden }, x) => ({ hidden: hidden!.add(second.forward(x)) }),
        },
      ]
      return { segments, resources: () => [first, second] }
    },
  }
}

/**
 * Two stages, every id embedded as its own number. Dense, h becomes h + 3 * 2h = 7h and then 14h; with halved
 * weights h + 1.5 * h = 2.5h and then (1 + 0.25) 2.5h = 3.125h.
 */
export const model: WalkModel = {
  stages: [scalarStage(0, 2, 3), scalarStage(1, 1, 1)],
  embed: (ids) => tensor([...ids], [ids.length, 1]),
  context: () => ({ rotary: { cos: tensor([1]), sin: tensor([0]) } }),
}
export const samples = [Uint32Array.of(1), Uint32Array.of(2, 4)]

/** Records what is seen and halves every weight. */
export function halving(extra: WalkVisitor = {}) {
  const seen: Record<string, number[]> = {}
  const events: string[] = []
  const visitor: WalkVisitor = {
    beginStage: ({ name }) => void events.push(`begin ${name}`),
    observe(linears, x) {
      const name = linears[0]!.name
      seen[name] = [...(seen[name] ?? []), ...numbers(x)]
      events.push(`observe ${name}`)
    },
    compress(linears) {
      for (const linear of linears) linear.source = denseSource(linear.source.dense().mul(0.5))
      events.push(`compress ${linears[0]!.name}`)
    },
    endStage: ({ name }) => void events.push(`end ${name}`),
    ...extra,
  }
  return { seen, events, visitor }
}

export const times = (factor: number) => [factor, 2 * factor, 4 * factor]
