/** Small trainings for tests: recipes, and the files that they read. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import type { TrainingRecipe } from './training_recipe.ts'

/** A function that makes empty folders, which are removed after the test. */
export function temporaryFolders(): () => string {
  const folders: string[] = []
  afterEach(() => {
    for (const made of folders.splice(0)) rmSync(made, { recursive: true })
  })
  return () => {
    folders.push(mkdtempSync(join(tmpdir(), 'training-')))
    return folders.at(-1)!
  }
}

/** A text in which a word says which one comes next. */
export function writeText(place: string): string {
  const path = join(place, 'text.txt')
  const words = ['the ship', ' sails', ' on the sea', ' and the wind', ' blows', ' over the waves']
  const text = Array.from({ length: 1500 }, (_, i) => words[i % 6]! + (i % 6 === 5 ? '.\n\n' : ''))
  writeFileSync(path, text.join(''))
  return path
}

/** A llama of two blocks on that text. */
export const languageRecipe = (
  place: string,
  fields: Partial<TrainingRecipe['train']> = {},
): TrainingRecipe => ({
  pare: 1,
  train: {
    model: { family: 'llama', layers: 2, hidden: 32, heads: 4, kvHeads: 2, feedForward: 48 },
    data: { kind: 'text', files: [writeText(place)], length: 24, tokenizer: { vocabulary: 280 } },
    batch: 4,
    steps: 60,
    optimiser: { name: 'adamw', rate: 1e-2, schedule: { name: 'cosine', warmUp: 3, to: 1e-3 } },
    ...fields,
  },
  output: join(place, 'out'),
})

/** Bytes in the format of MNIST. */
export function writeIdx(path: string, shape: readonly number[], values: Uint8Array): void {
  const head = Buffer.alloc(4 + 4 * shape.length)
  head[2] = 8
  head[3] = shape.length
  for (const [axis, extent] of shape.entries()) head.writeUInt32BE(extent, 4 + 4 * axis)
  writeFileSync(path, Buffer.concat([head, values]))
}

/** Ten classes of bars, 12 x 12, as files of images and labels. */
export function writeBars(place: string, count = 120): { images: string; labels: string } {
  const labels = Uint8Array.from({ length: count }, (_, i) => (i + Math.floor(i / 10)) % 10)
  const pixels = Uint8Array.from({ length: count * 144 }, (_, at) => {
    const [image, row] = [Math.floor(at / 144), Math.floor((at % 144) / 12)]
    return (row === labels[image]! + 1 ? 180 : 0) + ((at * 7) % 60)
  })
  const files = { images: join(place, 'images.idx'), labels: join(place, 'labels.idx') }
  writeIdx(files.images, [count, 12, 12], pixels)
  writeIdx(files.labels, [count], labels)
  return files
}

/** An MLP on bars. */
export const classifierRecipe = (
  place: string,
  fields: Partial<TrainingRecipe['train']> = {},
): TrainingRecipe => ({
  pare: 1,
  train: {
    model: { family: 'mlp', hidden: [16] },
    data: { kind: 'idx', ...writeBars(place) },
    batch: 12,
    steps: 40,
    optimiser: { name: 'adamw', rate: 1e-2 },
    ...fields,
  },
  output: join(place, 'out'),
})
