import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadClassifier } from '../../models/classifiers/load_classifier.ts'
import { openLanguageModel } from '../../models/load_model.ts'
import { loadLstm } from '../../models/lstm/lstm_folder.ts'
import { AbortError } from '../../tensor/errors.ts'
import { randomStream, scope, setThreads, threads } from '../../tensor/index.ts'
import { type AnyImageRecipe, readImageData } from './image_data.ts'
import { train } from './train.ts'
import type { TrainingRecipe } from './training_recipe.ts'
import { classifierRecipe, languageRecipe, temporaryFolders } from './training_recipes.suite.ts'

const folder = temporaryFolders()
const weightsOf = (recipe: TrainingRecipe) => readFileSync(join(recipe.output!, 'model.safetensors'))

/** Trains until a step, and is stopped there. */
async function stoppedAt(recipe: TrainingRecipe, step: number): Promise<void> {
  const stop = new AbortController()
  const run = train(recipe, {
    signal: stop.signal,
    progress: (event) => {
      if (event.kind === 'training' && event.step >= step) stop.abort()
    },
  })
  await expect(run).rejects.toThrow(AbortError)
}

test('text becomes a folder that opens as a language model, and a report', async () => {
  const recipe = languageRecipe(folder())
  const report = await train(recipe)
  expect(report).toMatchObject({ family: 'llama', steps: 60, units: 60 * 4 * 24, unit: 'tokens' })
  expect(report.evaluation.loss).toBeLessThan(1)
  const { loss, perplexity, bitsPerByte, tokens, bytes } = report.evaluation
  expect(perplexity).toBeCloseTo(Math.exp(loss!), 9)
  expect(bitsPerByte).toBeCloseTo((loss! * tokens!) / Math.LN2 / bytes!, 9)
  expect(readdirSync(recipe.output!).sort()).toEqual([...report.files].sort())
  const open = openLanguageModel(recipe.output!)
  try {
    scope(() => {
      const tokenizer = open.tokenizer()
      const logits = open.model.load().forward(tokenizer.encode('the ship sails on the'))
      expect(tokenizer.decode([logits.slice(0, -1).argmax(-1).item()])).toBe(' sea')
    })
  } finally {
    open.close()
  }
})
test.each([true, false])(
  'an LSTM with carried %s learns, goes on to the same bytes, and opens',
  async (carried) => {
    const model = { family: 'lstm', layers: 2, hidden: 24, dropout: 0.1, carried } as const
    const fields = { model, steps: 40, optimiser: { name: 'adamw', rate: 2e-2 } } as const
    const whole = languageRecipe(folder(), fields)
    const { evaluation } = await train(whole)
    expect(evaluation.loss).toBeLessThan(3)
    const recipe = languageRecipe(folder(), fields)
    await stoppedAt(recipe, 17)
    await train(recipe)
    expect(weightsOf(recipe).equals(weightsOf(whole))).toBe(true)
    const { model: loaded, parameters } = loadLstm(recipe.output!)
    expect(loaded.config).toMatchObject({ hidden: 24, tied: true })
    parameters.dispose()
    const more = languageRecipe(folder(), { model: { source: recipe.output! }, steps: 5 })
    expect((await train(more)).evaluation.loss).toBeLessThan(3)
  },
)
test('bits of a byte count the bytes of the text that is held out', async () => {
  const place = folder()
  const { evaluation } = await train(languageRecipe(place, { steps: 1 }))
  const text = readFileSync(join(place, 'text.txt'), 'utf8')
  // What is left of the last window, and the first token, are not scored.
  const heldOut = text.length * 0.1
  expect(evaluation.bytes).toBeLessThan(heldOut + 100)
  expect(evaluation.bytes).toBeGreaterThan(heldOut - 300)
})
test.each([
  ['an MLP', { model: { family: 'mlp', hidden: [16] } }, 'f32'],
  ['LeNet in bf16', { model: { family: 'lenet', convolutions: [4, 6], hidden: 16 }, dtype: 'bf16' }, 'bf16'],
  ['a ResNet in f64', { model: { family: 'resnet', depth: 8, width: 4 }, dtype: 'f64' }, 'f64'],
] as const)('%s becomes a folder that opens with the same accuracy', async (_, fields, dtype) => {
  const recipe = classifierRecipe(folder(), fields as Partial<TrainingRecipe['train']>)
  const { evaluation } = await train(recipe)
  expect(evaluation.accuracy).toBeGreaterThan(0.5)
  const { classifier, config, parameters } = loadClassifier(recipe.output!, { dtype })
  expect(config.classes).toEqual([...'0123456789'])
  const { heldOut } = await readImageData(recipe.train.data as AnyImageRecipe, config)
  scope(() => {
    const ids = Uint32Array.from({ length: heldOut.count }, (_, i) => i)
    const { inputs, labels } = heldOut.batch(ids, randomStream(0, 'none'))
    const right = classifier.forward(inputs.cast(dtype)).argmax(-1).equal(labels)
    expect(right.cast('f32').mean().item()).toBeCloseTo(evaluation.accuracy!, 6)
  })
  parameters.dispose()
})
test('a training that was stopped goes on to the same bytes, with any number of threads', async () => {
  const before = threads()
  const fields: Partial<TrainingRecipe['train']> = {
    steps: 24,
    average: { decay: 0.9 },
    evaluation: { every: 6, examples: 8 },
  }
  const whole = languageRecipe(folder(), fields)
  const report = await train(whole)
  try {
    for (const [stop, count] of [
      [6, 1],
      [13, 3],
    ] as const) {
      setThreads(count)
      const recipe = languageRecipe(folder(), fields)
      await stoppedAt(recipe, stop)
      const again = await train(recipe)
      expect(again.resumedAt).toBe(stop)
      expect(weightsOf(recipe).equals(weightsOf(whole))).toBe(true)
      expect(again.evaluation).toEqual(report.evaluation)
    }
  } finally {
    setThreads(before)
  }
})
test('a finished training is not done again, and restart does it anew', async () => {
  const recipe = classifierRecipe(folder())
  const first = await train(recipe)
  const seen: string[] = []
  const again = await train(recipe, { progress: ({ kind }) => void seen.push(kind) })
  expect(again).toEqual(first)
  expect(seen).not.toContain('training')
  const anew = await train({ ...recipe, restart: true }, { progress: ({ kind }) => void seen.push(kind) })
  expect(seen).toContain('training')
  expect(anew.evaluation).toEqual(first.evaluation)
})
test('another seed gives other weights', async () => {
  const [one, two] = [classifierRecipe(folder()), { ...classifierRecipe(folder()), seed: 1 }]
  for (const recipe of [one, two]) await train(recipe)
  expect(weightsOf(one).equals(weightsOf(two))).toBe(false)
})
test('epochs are turned into steps of full batches', async () => {
  const recipe = classifierRecipe(folder())
  const { steps: _, ...others } = recipe.train
  const report = await train({ ...recipe, train: { ...others, epochs: 3, accumulate: 2 } })
  // 108 images are for training: 9 batches of 12 an epoch.
  expect(report).toMatchObject({ steps: 13, units: 13 * 24 })
})
test('weights of a folder are gone on with, and pruned to the sparsity of the recipe', async () => {
  const first = classifierRecipe(folder())
  await train(first)
  const place = folder()
  const second = classifierRecipe(place, {
    model: { source: first.output! },
    methods: [{ method: 'gmp', sparsity: 0.75, end: 20, every: 5 }],
  })
  const report = await train(second)
  expect(report.evaluation.accuracy).toBeGreaterThan(0.5)
  const { parameters } = loadClassifier(second.output!)
  const zeros = scope(() => {
    const weight = parameters.get('fc1.weight').tensor
    return weight.equal(0).cast('f32').mean().item()
  })
  expect(zeros).toBeCloseTo(0.75, 2)
  parameters.dispose()
})
test('a student learns from a teacher of the same classes, and of others it is refused', async () => {
  const teacher = classifierRecipe(folder())
  await train(teacher)
  const student = classifierRecipe(folder(), {
    model: { family: 'mlp', hidden: [8] },
    distill: { teacher: teacher.output!, temperature: 2, weight: 1, taskWeight: 0 },
  })
  const { evaluation } = await train(student)
  // The labels themselves are not looked at.
  expect(evaluation.accuracy).toBeGreaterThan(0.5)
  const like = classifierRecipe(folder(), {
    model: { family: 'mlp', hidden: [8] },
    distill: {
      teacher: teacher.output!,
      hidden: [{ student: 'fc1/act', teacher: 'fc1/act', map: { from: 8, to: 16 } }],
    },
  })
  const { parameters } = await train(like)
  // 144 x 8 + 8 + 8 x 10 + 10: the map is no part of the model.
  expect(parameters).toBe(1250)
  expect(loadClassifier(like.output!).parameters.has('distillation.0.weight')).toBe(false)
  const language = languageRecipe(folder(), { distill: { teacher: teacher.output! } })
  await expect(train(language)).rejects.toThrow(/pare_mlp/)
})
