import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import {
  calibrationFields,
  evaluationFields,
  limitsSchema,
  overrideSchema,
  stepSchema,
} from '../src/run/option_fields.ts'
import { recipeSchema } from '../src/run/recipe.ts'
import { fromRecipe } from '../src/run/recipe_options.ts'

const page = readFileSync(fileURLToPath(new URL('recipes.md', import.meta.url)), 'utf8')

test('the page names every field of a recipe', () => {
  const schemas = [recipeSchema, stepSchema, overrideSchema, limitsSchema].map(({ shape }) => shape)
  for (const name of [...schemas, calibrationFields, evaluationFields].flatMap((shape) => Object.keys(shape)))
    expect(page.includes(`\`${name}\``), name).toBe(true)
})
test('the recipes of the page are valid', () => {
  const recipes = [...page.matchAll(/^```yaml \S+\n([\s\S]*?)^```$/gm)].map(([, text]) => parse(text!))
  expect(recipes).toHaveLength(3)
  for (const recipe of recipes) expect(fromRecipe(recipe).steps!.length).toBeGreaterThan(0)
})
