/** What goes wrong in a training, and what is left of it. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { type Disk, setDisk, systemDisk } from '../../formats/disk.ts'
import {
  AbortError,
  FormatError,
  NumericalError,
  OptionError,
  PareError,
  ResourceError,
  StateError,
} from '../../tensor/errors.ts'
import { train } from './train.ts'
import type { TrainingRecipe } from './training_recipe.ts'
import {
  classifierRecipe,
  languageRecipe,
  temporaryFolders,
  writeBars,
  writeIdx,
} from './training_recipes.suite.ts'

const folder = temporaryFolders()
afterEach(() => void setDisk(systemDisk))

/** The error that a training ends with. */
async function errorOf(recipe: TrainingRecipe, signal?: AbortSignal): Promise<PareError> {
  const error = await train(recipe, { signal }).then(
    () => undefined,
    (thrown) => thrown,
  )
  expect(error).toBeInstanceOf(PareError)
  return error
}
const checkpoints = ({ output }: TrainingRecipe) => readdirSync(join(output!, '.pare', 'checkpoints'))
const logOf = ({ output }: TrainingRecipe) =>
  readFileSync(join(output!, 'log.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

/** The rate leaves all bounds from step 12 on. */
const explosive = {
  optimiser: { name: 'sgd', rate: 1e-2, schedule: { name: 'step', milestones: [12], gamma: 1e38 } },
  checkpoint: { every: 5 },
} as const

test('a loss that is not finite ends the run, and the last good checkpoint stays', async () => {
  const recipe = classifierRecipe(folder(), explosive)
  const error = await errorOf(recipe)
  expect(error).toBeInstanceOf(NumericalError)
  expect(error.message).toMatch(/^step 1[34]: .*not finite.*lower the rate/)
  expect(checkpoints(recipe)).toEqual(['step-000000005.safetensors', 'step-000000010.safetensors'])
  // The recipe is part of the run: another rate is another run, and says so.
  const other = { ...recipe, train: { ...recipe.train, optimiser: { name: 'sgd', rate: 1e-3 } as const } }
  expect((await errorOf(other)).message).toMatch(/train\.optimiser\.rate was 0\.01, is 0\.001/)
})
test('steps that are left out are logged, and too many end the run', async () => {
  const recipe = classifierRecipe(folder(), { ...explosive, skipAtMost: 3 })
  expect(await errorOf(recipe)).toBeInstanceOf(NumericalError)
  const skipped = logOf(recipe).filter((line) => line.skipped)
  expect(skipped).toHaveLength(3)
  expect(skipped[0].skipped).toMatch(/not finite/)
})
test.each([
  ['a text without words', (place: string) => languageRecipe(place), 'text.txt', ' \n\n ', /has no text/],
  [
    'a text shorter than a window',
    (place: string) => languageRecipe(place),
    'text.txt',
    'a b',
    /needs 25 tokens|gives only|no held-out/,
  ],
] as const)('%s is refused by name before anything is written', async (_, make, name, content, message) => {
  const place = folder()
  const recipe = make(place)
  writeFileSync(join(place, name), content)
  const error = await errorOf(recipe)
  expect(error).toBeInstanceOf(OptionError)
  expect(error.message).toMatch(message)
  expect(readdirSync(place)).toEqual([name])
})
test('fewer images than a batch, no image at all, and a pattern without files are refused', async () => {
  const few = await errorOf(classifierRecipe(folder(), { batch: 200 }))
  expect(few.code).toBe('PARE_E_EMPTY_DATA')
  expect(few.message).toMatch(/a batch needs 200 examples, there are 108/)
  const place = folder()
  const none = classifierRecipe(place)
  writeIdx(join(place, 'images.idx'), [0, 12, 12], new Uint8Array())
  writeIdx(join(place, 'labels.idx'), [0], new Uint8Array())
  expect(await errorOf(none)).toBeInstanceOf(PareError)
  const images = join(place, 'images')
  mkdirSync(join(images, 'cat'), { recursive: true })
  const empty = { kind: 'images', folder: images, height: 8, width: 8 } as const
  expect((await errorOf(classifierRecipe(place, { data: empty }))).message).toMatch(/cat: has no images/)
  const text = {
    kind: 'text',
    files: [`${place}/*.none`],
    length: 8,
    tokenizer: { vocabulary: 300 },
  } as const
  expect((await errorOf(languageRecipe(place, { data: text }))).message).toMatch(/matches no file/)
})
test('a label out of range names file, row, label and classes', async () => {
  const place = folder()
  const bars = writeBars(place)
  writeIdx(
    bars.labels,
    [120],
    Uint8Array.from({ length: 120 }, (_, i) => (i === 77 ? 12 : i % 10)),
  )
  const recipe = classifierRecipe(folder(), { data: { kind: 'idx', ...bars } })
  const error = await errorOf(recipe)
  expect(error).toBeInstanceOf(FormatError)
  expect(error.message).toMatch(/labels\.idx: row 77 .* label 12, the classes are 0, 1, 2.*9/)
  expect(error.facts).toMatchObject({ path: bars.labels, row: 77, label: 12 })
  const assets = folder()
  mkdirSync(join(assets, 'data', 'images-sklearn'), { recursive: true })
  const rows = Array.from({ length: 20 }, (_, i) =>
    [...Array(64).fill(i % 17), i === 13 ? 11 : i % 10].join(','),
  )
  writeFileSync(join(assets, 'data', 'images-sklearn', 'digits.csv.gz'), gzipSync(rows.join('\n')))
  const digits = await errorOf(classifierRecipe(folder(), { data: { kind: 'digits', assets } }))
  expect(digits.message).toMatch(/digits\.csv\.gz: row 13 .* label 11, the classes are 0, 1/)
})
test('a checkpoint of another recipe or other data is refused with the fields that differ', async () => {
  const place = folder()
  const recipe = classifierRecipe(place)
  const stop = new AbortController()
  await expect(
    train(recipe, {
      signal: stop.signal,
      progress: (event) => void (event.kind === 'training' && event.step === 7 && stop.abort()),
    }),
  ).rejects.toThrow(AbortError)
  expect(checkpoints(recipe)).toEqual(['step-000000007.safetensors'])
  const changed = await errorOf({ ...recipe, seed: 5, train: { ...recipe.train, clip: 2 } })
  expect(changed).toBeInstanceOf(StateError)
  expect(changed.exitCode).toBe(3)
  expect(changed.message).toMatch(/seed was 0, is 5; train\.clip was "?nothing"?, is 2/)
  writeBars(place, 140)
  expect((await errorOf(recipe)).facts.fields).toEqual(['train.data.train', 'train.data.heldOut'])
  writeBars(place)
  expect((await train(recipe)).resumedAt).toBe(7)
})
test('what a process left that ended while it wrote is no obstacle, and goes', async () => {
  const recipe = classifierRecipe(folder(), { steps: 2 })
  mkdirSync(recipe.output!)
  writeFileSync(join(recipe.output!, '.log.jsonl.0123456789ab.part'), '')
  const { files } = await train(recipe)
  expect(readdirSync(recipe.output!).sort()).toEqual([...files].sort())
})
test('a disk that fills at any write ends in a resource error, and the run goes on to the same bytes', async () => {
  const fields = { steps: 12, checkpoint: { every: 3 }, evaluation: { every: 6 } }
  const whole = classifierRecipe(folder(), fields)
  let writes = 0
  const watched = (most: number): Disk => ({
    ...systemDisk,
    write(...args) {
      if (++writes > most) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
      systemDisk.write(...args)
    },
  })
  setDisk(watched(Number.POSITIVE_INFINITY))
  await train(whole)
  const expected = readFileSync(join(whole.output!, 'model.safetensors'))
  const all = writes
  expect(all).toBeGreaterThan(20)
  for (let most = 0; most < all; most += 3) {
    const recipe = classifierRecipe(folder(), fields)
    writes = 0
    setDisk(watched(most))
    const error = await errorOf(recipe)
    expect(error, `write ${most}`).toBeInstanceOf(ResourceError)
    expect(error.exitCode).toBe(5)
    setDisk(systemDisk)
    await train(recipe)
    expect(readFileSync(join(recipe.output!, 'model.safetensors')).equals(expected)).toBe(true)
    expect(readdirSync(recipe.output!)).not.toContain('.pare')
  }
})
