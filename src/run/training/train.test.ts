import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { openLanguageModel } from '../../models/load_model.ts'
import { scope } from '../../tensor/index.ts'
import { train } from './train.ts'
import type { TrainingRecipe } from './training_recipe.ts'

const folders: string[] = []
const folder = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'training-')))
  return folders.at(-1)!
}
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true })
})

/** Sentences in which a word says which one comes next. */
function writeText(place: string): string {
  const path = join(place, 'text.txt')
  const words = ['the ship', ' sails', ' on the sea', ' and the wind', ' blows', ' over the waves']
  writeFileSync(
    path,
    Array.from({ length: 1500 }, (_, i) => words[i % 6]! + (i % 6 === 5 ? '.\n\n' : '')).join(''),
  )
  return path
}
const recipeFor = (place: string, fields: Partial<TrainingRecipe['train']> = {}): TrainingRecipe => ({
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

test('text becomes a folder that opens as a language model, and a report', async () => {
  const place = folder()
  const report = await train(recipeFor(place))
  expect(report).toMatchObject({
    family: 'llama',
    steps: 60,
    units: 60 * 4 * 24,
    unit: 'tokens',
    resumedAt: null,
  })
  expect(report.evaluation.loss).toBeLessThan(1)
  expect(report.evaluation.perplexity).toBeCloseTo(Math.exp(report.evaluation.loss!), 9)
  expect(readdirSync(join(place, 'out')).sort()).toEqual([...report.files].sort())
  const open = openLanguageModel(join(place, 'out'))
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
