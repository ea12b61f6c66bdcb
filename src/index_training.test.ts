/** The library as a program that trains uses it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import {
  createLoader,
  crossEntropy,
  type Examples,
  freshClassifier,
  labelledTask,
  loadClassifier,
  optimisers,
  pruningMethods,
  schedules,
  scope,
  Trainer,
  type TrainingRecipe,
  tensor,
  train,
  fit as tune,
  valueAndGrad,
} from './index.ts'
import { writeIdx } from './run/training/training_recipes.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-training-api-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const slopes: Examples = {
  name: 'slopes',
  count: 64,
  fingerprint: 'slopes',
  batch(ids) {
    const rows = Array.from(ids, (id) => [0, 1, 2, 3].map((x) => ((id % 8) - 3.5) * (x - 1.5)))
    const rises = Array.from(ids, (id) => (id % 8 > 3 ? 1 : 0))
    return {
      ids,
      inputs: tensor(rows.flat(), [ids.length, 4]),
      labels: tensor(rises, [ids.length], 'u32'),
    }
  },
}
const small = () =>
  freshClassifier({
    shape: { family: 'mlp', hidden: [8] },
    image: [1, 4, 1],
    classes: ['falls', 'rises'],
    normalise: { mean: [0], deviation: [1] },
  })
test('train makes a classifier from a recipe, and loadClassifier opens it', async () => {
  const labels = Uint8Array.from({ length: 60 }, (_, i) => i % 7)
  writeIdx(
    join(folder, 'images'),
    [60, 4, 4],
    Uint8Array.from({ length: 960 }, (_, i) => (i * 37) % 256),
  )
  writeIdx(join(folder, 'labels'), [60], labels)
  const recipe: TrainingRecipe = {
    pare: 1,
    train: {
      model: { family: 'mlp', hidden: [4] },
      data: { kind: 'idx', images: join(folder, 'images'), labels: join(folder, 'labels') },
      batch: 6,
      steps: 3,
    },
    output: join(folder, 'classifier'),
  }
  const { evaluation, steps } = await train(recipe)
  expect([steps, evaluation.images]).toEqual([3, 6])
  expect(loadClassifier(recipe.output!).config.image).toEqual([4, 4, 1])
})
test('any pruning method wraps any optimiser', () => {
  for (const make of Object.values(optimisers)) {
    const { classifier, parameters } = small()
    const rigl = pruningMethods.rigl({ sparsity: 0.5, every: 5, end: 20 })
    const trainer = new Trainer({
      task: labelledTask({ parameters, logits: ({ inputs }) => classifier.forward(inputs) }),
      loader: createLoader(slopes, { batch: 16, dropLast: true }),
      optimiser: make({ rate: schedules.constant(0.05) })(parameters),
      methods: [rigl],
    })
    const losses = Array.from({ length: 40 }, () => trainer.next()!.loss)
    expect(losses.at(-1)).toBeLessThan(losses[0]!)
    expect(rigl.masks().get('fc1.weight')!.filter(Boolean).length).toBe(16)
    const zeros = scope(() => parameters.get('fc1.weight').tensor.equal(0).cast('f32').sum().item())
    expect(zeros).toBeGreaterThanOrEqual(16)
    trainer.dispose()
  }
})
test('fit and valueAndGrad are the parts below', () => {
  const { classifier, parameters } = small()
  const loader = createLoader(slopes, { batch: 16, dropLast: true })
  const loss = ({ inputs, labels }: ReturnType<typeof slopes.batch>) =>
    crossEntropy(classifier.forward(inputs), labels)
  const { losses } = tune({ parameters, optimiser: optimisers.adam()(parameters), loader, loss, steps: 5 })
  expect(losses).toHaveLength(5)
  scope(() => {
    const { value, gradients } = valueAndGrad(() => loss(loader.next()!), parameters.tensors())
    expect(Number.isFinite(value.item())).toBe(true)
    expect([...gradients.keys()]).toEqual([...parameters.tensors().keys()])
  })
  parameters.dispose()
})
