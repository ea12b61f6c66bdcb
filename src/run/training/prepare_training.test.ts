import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { AbortError, PareError } from '../../tensor/errors.ts'
import { nativeKernels } from '../../tensor/index.ts'
import { prepareTraining } from './prepare_training.ts'
import { readTraining } from './read_training.ts'
import { train } from './train.ts'
import type { TrainingRecipe } from './training_recipe.ts'
import { classifierRecipe, languageRecipe, temporaryFolders, writeIdx } from './training_recipes.suite.ts'

const folder = temporaryFolders()
type Fields = Partial<TrainingRecipe['train']>

/** Files that this process has open below a folder; Linux alone tells. */
const descriptors = '/proc/self/fd'
const openFiles = () => (existsSync(descriptors) ? readdirSync(descriptors).length : 0)
const tensors = () => nativeKernels().memory().tensors

/** Prepares what must fail, and says what is left of it. */
async function leftBy(recipe: TrainingRecipe, signal?: AbortSignal) {
  const before = { tensors: tensors(), files: openFiles() }
  const error = await prepareTraining(readTraining(recipe, {}), signal).then(
    () => expect.fail('it is prepared'),
    (thrown) => thrown,
  )
  expect(error).toBeInstanceOf(PareError)
  return { error, tensors: tensors() - before.tensors, files: openFiles() - before.files }
}
/** Nothing; what other tests made may go meanwhile. */
function expectNothing({ tensors, files }: { tensors: number; files: number }): void {
  expect(tensors).toBeLessThanOrEqual(0)
  expect(files).toBeLessThanOrEqual(0)
}
const aborted = AbortSignal.abort()

describe('a training that goes on with a classifier and cannot begin frees its weights', () => {
  const trained = async () => {
    const recipe = classifierRecipe(folder(), { steps: 1 })
    await train(recipe)
    return recipe.output!
  }
  const going = (source: string, fields: Fields = {}) =>
    classifierRecipe(folder(), { model: { source }, ...fields })

  test('for want of data, at a signal, and for other images', async () => {
    const source = await trained()
    const few = await leftBy(going(source, { batch: 200 }))
    expect(few.error.message).toMatch(/a batch needs 200 examples/)
    expectNothing(few)
    const none = { kind: 'images', folder: join(source, 'none'), height: 12, width: 12 } as const
    expectNothing(await leftBy(going(source, { data: none })))
    const stopped = await leftBy(going(source), aborted)
    expect(stopped.error).toBeInstanceOf(AbortError)
    expectNothing(stopped)
    const recipe = going(source, { batch: 4 })
    const place = join(recipe.output!, '..')
    const pixels = Uint8Array.from({ length: 20 * 64 }, (_, i) => i % 251)
    writeIdx(join(place, 'images.idx'), [20, 8, 8], pixels)
    writeIdx(join(place, 'labels.idx'), [20], new Uint8Array(20))
    const other = await leftBy(recipe)
    expect(other.error.message).toMatch(/needs images 12, 12, 1, got 8, 8, 1/)
    expectNothing(other)
  })
  test('for want of a teacher; one that begins keeps them', async () => {
    const source = await trained()
    expectNothing(await leftBy(going(source, { distill: { teacher: join(source, 'none') } })))
    const before = tensors()
    const { model } = await prepareTraining(readTraining(going(source), {}), undefined)
    expect(tensors()).toBeGreaterThan(before)
    expect(model.task.parameters.tensors().size).toBe(4)
    model.task.parameters.dispose()
  })
})
test.each([
  ['an LSTM', { family: 'lstm', layers: 1, hidden: 8 }],
  ['a llama', { family: 'llama', layers: 1, hidden: 8, heads: 2, feedForward: 8 }],
] as const)(
  'a training that goes on with %s and cannot begin frees its weights and files',
  async (_, model) => {
    const first = languageRecipe(folder(), { model, steps: 1 })
    await train(first)
    const source = first.output!
    const going = (fields: Fields = {}) => {
      const recipe = languageRecipe(folder(), fields)
      const { tokenizer, ...data } = recipe.train.data as Extract<
        TrainingRecipe['train']['data'],
        { kind: 'text' }
      >
      return { ...recipe, train: { ...recipe.train, model: { source }, data } }
    }
    const few = await leftBy(going({ batch: 100_000 }))
    expect(few.error.message).toMatch(/a batch needs 100000 examples/)
    expectNothing(few)
    expectNothing(await leftBy(going({ distill: { teacher: join(source, 'none') } })))
    const stopped = await leftBy(going(), aborted)
    expect(stopped.error).toBeInstanceOf(AbortError)
    expectNothing(stopped)
    // The last weight of the file is damaged: those before it were read.
    const path = join(source, 'model.safetensors')
    const bytes = readFileSync(path)
    bytes.fill(255, bytes.length - 4)
    writeFileSync(path, bytes)
    const damaged = await leftBy(going())
    expect(damaged.error.message).toMatch(/not finite|NaN/)
    expectNothing(damaged)
  },
)
