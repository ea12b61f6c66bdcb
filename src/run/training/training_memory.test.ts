import { expect, test } from 'vitest'
import { classifierOf } from '../../models/classifiers/classifier_config.ts'
import { freshClassifier } from '../../models/classifiers/load_classifier.ts'
import { LstmLanguageModel } from '../../models/lstm/lstm_model.ts'
import { PareError, ResourceError } from '../../tensor/errors.ts'
import type { TrainingSettings } from './read_training.ts'
import { readTraining } from './read_training.ts'
import { train } from './train.ts'
import { countWeights, memoryFor } from './training_memory.ts'
import type { TrainingRecipe } from './training_recipe.ts'
import { classifierRecipe, languageRecipe, temporaryFolders } from './training_recipes.suite.ts'

const folder = temporaryFolders()
const trainOf = (fields: Partial<TrainingSettings['train']>): TrainingSettings['train'] => ({
  ...readTraining(classifierRecipe(folder())).train,
  ...fields,
})

test.each([
  ['adamw in f32: number, gradient and two moments', {}, 16],
  ['averages are one more', { average: {} }, 20],
  ['sgd without momentum keeps nothing', { optimiser: { name: 'sgd' } }, 8],
  ['bf16: a master, its copy and gradient, two moments', { dtype: 'bf16' }, 16],
  ['f64', { dtype: 'f64' }, 32],
] as const)('by hand, bytes of a weight: %s', (_, fields, bytes) => {
  const fits = memoryFor(trainOf(fields as Partial<TrainingSettings['train']>), 100 * bytes)
  expect(() => fits(100)).not.toThrow()
  expect(() => fits(101)).toThrow(ResourceError)
  expect(() => fits(100, 1)).toThrow(/logits of a batch/)
})
test('weights are counted as they are made, and a network of any size costs nothing to count', () => {
  const config = {
    shape: { family: 'resnet', depth: 14, width: 4 },
    image: [8, 8, 3],
    classes: ['a', 'b'],
    normalise: { mean: [0, 0, 0], deviation: [1, 1, 1] },
  } as const
  const { parameters } = freshClassifier(config)
  const made = [...parameters.tensors().values()].reduce((sum, { size }) => sum + size, 0)
  expect(countWeights((weights) => classifierOf(config, weights))).toBe(made)
  parameters.dispose()
  // An embedding of 4 x 2^20, one layer of 4 x 2^20 rows over both widths with two biases, and a head.
  const lstm = { vocabulary: 4, embedding: 2 ** 20, hidden: 2 ** 20, layers: 1, dropout: 0, tied: true }
  expect(countWeights((weights) => new LstmLanguageModel(lstm, weights))).toBe(
    4 * 2 ** 20 + 2 * (4 * 2 ** 40) + 2 * (4 * 2 ** 20) + 4,
  )
})
test.each<[string, (place: string) => TrainingRecipe]>([
  [
    'a llama',
    (place) =>
      languageRecipe(place, {
        model: { family: 'llama', layers: 10_000, hidden: 2 ** 20, heads: 2, feedForward: 2 ** 20 },
      }),
  ],
  ['an LSTM', (place) => languageRecipe(place, { model: { family: 'lstm', layers: 3, hidden: 2 ** 20 } })],
  [
    'a ResNet',
    (place) => classifierRecipe(place, { model: { family: 'resnet', depth: 998, width: 2 ** 20 } }),
  ],
  ['an MLP', (place) => classifierRecipe(place, { model: { family: 'mlp', hidden: [2 ** 20, 2 ** 20] } })],
])('%s that no machine holds is refused before a weight is drawn', async (_, make) => {
  const error = await train(make(folder())).then(
    () => undefined,
    (thrown) => thrown,
  )
  expect(error).toBeInstanceOf(ResourceError)
  expect(error.message).toMatch(/^train\.model: [\d,]+ weights .*choose a smaller model/)
})
test.each<[string, Partial<TrainingRecipe['train']>, RegExp]>([
  [
    'layers',
    { model: { family: 'llama', layers: 1e6, hidden: 16, heads: 2, feedForward: 16 } },
    /train\.model\.layers: a whole number from 1 to 10000 is needed, got 1000000/,
  ],
  ['widths', { model: { family: 'mlp', hidden: [1e9] } }, /hidden\[0\]: a whole number from 1 to 1048576/],
  [
    'a vocabulary',
    { data: { kind: 'text', files: ['x'], length: 8, tokenizer: { vocabulary: 1e9 } } },
    /tokenizer\.vocabulary: a whole number from 257 to 262144 is needed/,
  ],
  [
    'milestones that do not rise',
    { optimiser: { name: 'sgd', schedule: { name: 'step', milestones: [9, 3] } } },
    /schedule\.milestones\[1\]: a step behind 9 is needed, got 3/,
  ],
  [
    'a milestone within the warm-up',
    { optimiser: { name: 'sgd', schedule: { name: 'step', warmUp: 5, milestones: [5, 9] } } },
    /schedule\.milestones\[0\]: a step behind the 5 of the warm-up is needed, got 5/,
  ],
])('%s out of range are refused by their field, before anything is read', (_, fields, message) => {
  const make = fields.data ? languageRecipe : classifierRecipe
  expect(() => readTraining(make(folder(), fields))).toThrow(message)
})
test('what does not fit each other is refused before the data is read', async () => {
  const data = { kind: 'idx', images: 'none', labels: 'none' } as const
  const wrong: [Partial<TrainingRecipe['train']>, RegExp][] = [
    [{ optimiser: { name: 'sgd', nesterov: true } }, /nesterov needs a momentum/],
    [{ methods: [{ method: 'gmp', sparsity: 0.5, begin: 9, end: 3 }] }, /end must be .* from 10 on, got 3/],
    [{ methods: [{ method: 'no_prune' }, { method: 'no_prune' }] }, /stands there twice/],
    [{ model: { family: 'resnet', depth: 9 } }, /6n \+ 2/],
    [{ model: { family: 'lenet', convolutions: [4] } }, /two widths are needed/],
    [{ model: { source: 'nowhere' } }, /nowhere: a model is needed, nothing can be read there \(ENOENT\)/],
  ]
  for (const [fields, message] of wrong)
    await expect(train(classifierRecipe(folder(), { data, ...fields }))).rejects.toThrow(message)
  const text = { kind: 'text', files: ['none'], length: 8, tokenizer: { vocabulary: 300 } } as const
  const llama = { family: 'llama', layers: 1, hidden: 16, heads: 2, feedForward: 8 } as const
  const lstm = { family: 'lstm', layers: 1, hidden: 16 } as const
  for (const [model, message] of [
    [{ ...llama, heads: 3 }, /choose a multiple of 6/],
    [{ ...llama, kvHeads: 5 }, /a divisor of 2 heads/],
    [{ ...llama, context: 4 }, /at most 4 tokens fit the context/],
    [{ ...lstm, embedding: 8, tied: true }, /tied softmax/],
  ] as const)
    await expect(train(languageRecipe(folder(), { data: text, model }))).rejects.toThrow(message)
})
test('more batches to a step than all epochs have are refused', async () => {
  const recipe = classifierRecipe(folder(), { accumulate: 19 })
  const { steps: _, ...fields } = recipe.train
  // 108 images are 9 batches of 12.
  const error = await train({ ...recipe, train: { ...fields, epochs: 2 } }).then(
    () => undefined,
    (thrown) => thrown,
  )
  expect(error).toBeInstanceOf(PareError)
  expect(error.message).toMatch(/at most the 18 batches of all epochs are needed, got 19/)
})
