import { describe, expect, test } from 'vitest'
import { walk } from '../calibrate/walk.ts'
import type { LlamaBlock } from '../models/llama/block.ts'
import { openFixture } from '../models/llama/fixtures.suite.ts'
import { runStage, type Stage } from '../models/stage.ts'
import type { Linear } from '../nn/linear.ts'
import type { CodebookValues } from '../nn/values/codebook.ts'
import type { StoredSource } from '../nn/values/values.ts'
import { OptionError } from '../tensor/errors.ts'
import { randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'
import { aqlm } from './aqlm.ts'
import { tuneBlock, tuneModel } from './codebook_tuning.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const linearsOf = (stage: Stage) => stage.segments.flatMap(({ linears }) => linears)
const valuesOf = ({ source }: Linear) => (source as StoredSource).values as CodebookValues

/** Few entries, so that there is something to win. */
function compressed(linear: Linear): void {
  linear.source = scope(() => {
    const dense = linear.source.dense()
    const n = dense.extent(1)
    const identity = Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0))
    return aqlm({ books: 1, bookBits: 3, rounds: 0 }).compress({
      name: linear.name,
      dense,
      current: dense,
      statistics: { gram: tensor(identity, [n, n], 'f64'), rows: n },
    }).source
  })
}

/** A block of a tiny model, its outputs before it was compressed, and inputs. */
function block() {
  const open = openFixture('smollm')
  const model = open.model
  const stage = model.stages[0]!.load()
  const random = randomStream(0, 'inputs')
  const context = model.context(8)
  const inputs = Array.from({ length: 8 }, () => random.normal([2, 8, 24]))
  const targets = inputs.map((x) => scope(() => runStage(stage, x, context)))
  for (const linear of linearsOf(stage)) compressed(linear)
  const samples = {
    count: inputs.length,
    input: (batch: number) => inputs[batch]!,
    target: (batch: number) => targets[batch]!,
    context: () => context,
  }
  open.close()
  return { stage, samples }
}

describe('tuning a block', () => {
  const { stage, samples } = block()
  const before = linearsOf(stage).map((linear) => {
    const { codes, codebooks } = valuesOf(linear)
    return { codes: numbers(codes), codebooks: numbers(codebooks) }
  })
  const norm = numbers((stage as LlamaBlock).weights.attentionNorm)
  const { losses, kept } = tuneBlock(stage, samples, { rate: 3e-3, epochs: 20, held: 0.25 })

  test('lowers the loss on batches that it was not trained on', () => {
    expect(losses.length).toBeGreaterThan(3)
    expect(kept).toBeGreaterThan(0)
    expect(losses[kept]!).toBe(Math.min(...losses))
    expect(losses[kept]!).toBeLessThan(0.95 * losses[0]!)
  })
  test('changes codebooks and norms, no code, and leaves what f16 holds', () => {
    for (const [i, linear] of linearsOf(stage).entries()) {
      const { codes, codebooks, scales } = valuesOf(linear)
      expect(numbers(codes)).toEqual(before[i]!.codes)
      expect(numbers(codebooks)).not.toEqual(before[i]!.codebooks)
      for (const x of [codebooks, scales]) expect(numbers(x)).toEqual(numbers(x.cast('f16').cast('f32')))
    }
    expect(numbers((stage as LlamaBlock).weights.attentionNorm)).not.toEqual(norm)
  })
  test('the tuned block still loses that little, rounded as it is', () => {
    const loss = [6, 7].map((batch) =>
      scope(() =>
        runStage(stage, samples.input(batch), samples.context())
          .sub(samples.target(batch))
          .square()
          .mean()
          .item(),
      ),
    )
    expect((loss[0]! + loss[1]!) / 2 / losses[kept]!).toBeCloseTo(1, 2)
  })
})

test('patience ends it, and the best numbers are kept', () => {
  const { stage, samples } = block()
  const { losses, kept } = tuneBlock(stage, samples, { rate: 10, epochs: 20, patience: 2, held: 0.25 })
  expect(kept).toBe(0)
  expect(losses).toHaveLength(3)
})
test('it fits the hook of a walk', async () => {
  const open = openFixture('smollm')
  const results: (readonly number[])[] = []
  await walk({
    model: open.model,
    samples: [0, 1, 2, 3].map((i) => Uint32Array.from({ length: 8 }, (_, t) => (t * 5 + i * 7) % 32)),
    batchTokens: 8,
    target: 'denseOnCurrent',
    visitor: {
      compress: (linears) => {
        for (const linear of linears) compressed(linear)
      },
      tune: (stage, samples) => {
        results.push(tuneBlock(stage, samples, { rate: 1e-3, epochs: 2, held: 0 }).losses)
      },
    },
  })
  open.close()
  expect(results).toHaveLength(2)
  for (const losses of results) expect(losses.at(-1)!).toBeLessThan(losses[0]!)
})
test('a whole model learns the distributions of its source', () => {
  const open = openFixture('smollm')
  scope(() => {
    const [student, teacher] = [open.model.load(), open.model.load()]
    for (const stage of student.stages) for (const linear of linearsOf(stage)) compressed(linear)
    const batches = [0, 1, 2, 3].map((i) =>
      tensor(
        Uint32Array.from({ length: 16 }, (_, t) => (t * 3 + i * 11) % 32),
        [2, 8],
        'u32',
      ),
    )
    const { losses, kept } = tuneModel(
      student.stages,
      {
        count: batches.length,
        student: (batch) => student.logits(batches[batch]!),
        teacher: (batch) => teacher.logits(batches[batch]!),
      },
      { rate: 1e-3, epochs: 3, held: 0 },
    )
    expect(kept).toBe(3)
    expect(losses[3]!).toBeLessThan(0.9 * losses[0]!)
  })
  open.close()
})
test('a stage without codebooks, and options that cannot be, are refused', () => {
  const open = openFixture('smollm')
  scope(() => {
    const stage = open.model.stages[0]!.load()
    const samples = { ...block().samples }
    expect(() => tuneBlock(stage, samples)).toThrow(OptionError)
    for (const options of [{ rate: 0 }, { epochs: -1 }, { patience: 0 }, { held: 1 }, { accumulate: 0 }])
      expect(() => tuneBlock(stage, samples, options)).toThrow(OptionError)
  })
  open.close()
})
