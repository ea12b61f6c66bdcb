import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import type { z } from 'zod'
import { dataSchemas } from '../src/run/training/data_fields.ts'
import { distillationSchema } from '../src/run/training/distillation_fields.ts'
import { methodFields } from '../src/run/training/method_fields.ts'
import { modelSchemas } from '../src/run/training/model_fields.ts'
import { optimiserSchemas, scheduleSchemas } from '../src/run/training/optimiser_fields.ts'
import { readTraining } from '../src/run/training/read_training.ts'
import { trainingRecipeSchema, trainingSchema } from '../src/run/training/training_recipe.ts'

const page = readFileSync(fileURLToPath(new URL('training.md', import.meta.url)), 'utf8')

/** All fields of a schema, those of maps, lists and alternatives inside of it too. */
function fieldsOf(schema: z.core.$ZodType): string[] {
  const { def } = schema._zod as unknown as { def: Record<string, never> }
  const shape = def.shape as Record<string, z.core.$ZodType> | undefined
  const inner = [def.innerType, def.element, ...((def.options as z.core.$ZodType[] | undefined) ?? [])]
  return [
    ...Object.entries(shape ?? {}).flatMap(([name, field]) => [name, ...fieldsOf(field)]),
    ...inner.flatMap((one) => (one && typeof one === 'object' ? fieldsOf(one) : [])),
  ]
}

test('the page names every field of a training, of every kind', () => {
  const schemas = [
    trainingRecipeSchema,
    trainingSchema,
    distillationSchema,
    ...[modelSchemas, dataSchemas, optimiserSchemas, scheduleSchemas].flatMap((table) =>
      Object.values(table),
    ),
    ...Object.values(methodFields).flatMap((fields) => Object.values(fields)),
  ]
  const names = new Set([
    ...schemas.flatMap(fieldsOf),
    ...Object.entries(methodFields).flatMap(([name, fields]) => [name, ...Object.keys(fields)]),
    ...Object.keys(dataSchemas),
  ])
  expect(names.size).toBeGreaterThan(80)
  for (const name of names) expect(page, name).toMatch(new RegExp(`\`${name}[\`:]`))
})
test('the recipes of the page are valid', () => {
  const recipes = [...page.matchAll(/^```yaml \S+\n([\s\S]*?)^```$/gm)].map(([, text]) => parse(text!))
  expect(recipes).toHaveLength(2)
  for (const recipe of recipes) expect(readTraining(recipe).train.batch).toBeGreaterThan(0)
})
