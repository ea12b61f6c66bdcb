import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { TextDataRecipe } from './data_fields.ts'
import { readTextData } from './text_data.ts'
import { temporaryFolders } from './training_recipes.suite.ts'

const folder = temporaryFolders()
function recipeOf(content: string, fields: Partial<TextDataRecipe> = {}): TextDataRecipe {
  const path = join(folder(), 'rows.jsonl')
  writeFileSync(path, content)
  return { kind: 'text', files: [path], length: 64, tokenizer: { vocabulary: 257 }, ...fields }
}
const rows = (count: number) =>
  Array.from({ length: count }, (_, i) => JSON.stringify({ text: `row ${i} of many` })).join('\n')

test('two thousand short rows have every tenth held out by default', async () => {
  const { train, heldOut, tokenizer } = await readTextData(recipeOf(rows(2000)))
  // A row is 13 to 16 bytes and a token that ends it; a token is a byte.
  expect(tokenizer.vocabularySize).toBe(257)
  expect(heldOut.count / (train.count + heldOut.count)).toBeCloseTo(0.1, 2)
})
test('too little held-out text is refused with the field that says what is held out', async () => {
  await expect(readTextData(recipeOf(rows(9), { length: 16 }))).rejects.toMatchObject({
    code: 'PARE_E_SHORT_TEXT',
    message: expect.stringMatching(/^held-out text: one window needs 17 tokens.* validation$/),
  })
})
test('files of their own are held out whole', async () => {
  const { train } = await readTextData(recipeOf(rows(200)))
  const heldOutFile = recipeOf(rows(20)).files
  const all = await readTextData(recipeOf(rows(200), { validation: { files: heldOutFile } }))
  expect(all.train.count).toBeGreaterThan(train.count)
  expect(all.heldOut.count).toBe(
    Math.floor(
      (rows(20)
        .match(/row \d+ of many/g)!
        .join('.').length -
        1) /
        64,
    ),
  )
})
