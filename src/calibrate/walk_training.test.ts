import { describe, expect, test } from 'vitest'
import { numbers } from '../models/llama/fixtures.suite.ts'
import type { Stage } from '../models/stage.ts'
import { denseSource } from '../nn/weight_source.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { halving, model, samples, times } from './scalar_model.suite.ts'
import { type WalkOptions, walk } from './walk.ts'

describe('training a stage', () => {
  /** Inputs and targets of each stage as `tune` gets them. */
  async function tuned(options: Partial<WalkOptions>, change?: (stage: Stage) => void) {
    const found: { inputs: number[]; targets: number[] }[] = []
    const { seen, visitor } = halving({
      tune(stage, { count, input, target, context }) {
        const all = (of: (sample: number) => Tensor) =>
          Array.from({ length: count }, (_, i) => numbers(of(i))).flat()
        expect(context(1).rotary).toBeDefined()
        found.push({ inputs: all(input), targets: all(target) })
        change?.(stage)
      },
    })
    await walk({ model, samples, visitor, ...options })
    return { found, seen }
  }
  const arrangements = [{ groups: 'ordered' }, { groups: 'stage' }] as const

  test.each(arrangements)(
    '$groups: dense targets are the outputs of the source model',
    async ({ groups }) => {
      const { found } = await tuned({ groups, target: 'dense' })
      expect(found).toEqual([
        { inputs: times(1), targets: times(7) },
        { inputs: times(2.5), targets: times(14) },
      ])
    },
  )
  test.each(arrangements)(
    '$groups: the dense stage on current inputs may be the target',
    async ({ groups }) => {
      const { found } = await tuned({ groups, target: 'denseOnCurrent' })
      expect(found).toEqual([
        { inputs: times(1), targets: times(7) },
        { inputs: times(2.5), targets: times(5) },
      ])
    },
  )
  test.each(arrangements)('$groups: what tune changes is what the next stage gets', async ({ groups }) => {
    // With a = 1 a second weight of 6 repairs the stage: h + 6h = 7h.
    const repair = (stage: Stage) => {
      const [linear] = stage.segments[1]!.linears
      if (linear!.name === '0.b') linear!.source = denseSource(tensor([6], [1, 1]))
    }
    const { found, seen } = await tuned({ groups, target: 'dense' }, repair)
    expect(found[1]!.inputs).toEqual(times(7))
    expect(seen['1.a']).toEqual(times(7))
  })
  test('observed on the dense chain, tune still gets inputs of the current one', async () => {
    const { found, seen } = await tuned({ observed: 'dense', target: 'dense' })
    expect(seen['1.a']).toEqual(times(7))
    expect(found.map(({ inputs }) => inputs)).toEqual([times(1), times(2.5)])
  })
  test('observed on the dense chain, the dense stage on current inputs may still be the target', async () => {
    const { found } = await tuned({ observed: 'dense', target: 'denseOnCurrent' })
    expect(found.map(({ targets }) => targets)).toEqual([times(7), times(5)])
  })
  test('targets that were not asked for are refused', async () => {
    await expect(tuned({})).rejects.toThrow(/targets were not asked for/)
  })
})
