/** What a training does to a folder that holds something else. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { freshWeights } from '../../models/classifiers/fresh_weights.ts'
import { type LstmConfig, lstmToJson } from '../../models/lstm/config.ts'
import { loadLstm } from '../../models/lstm/lstm_folder.ts'
import { LstmLanguageModel } from '../../models/lstm/lstm_model.ts'
import { Parameters } from '../../nn/parameters.ts'
import { FormatError, OptionError, PareError } from '../../tensor/errors.ts'
import { scope, tensor, zeros } from '../../tensor/index.ts'
import { carriedPrefix } from '../../train/carried_state.ts'
import { distillationPrefix } from '../../train/distillation.ts'
import { train } from './train.ts'
import { writeTrainingResult } from './training_folder.ts'
import type { TrainingRecipe } from './training_recipe.ts'
import { classifierRecipe, temporaryFolders } from './training_recipes.suite.ts'

const folder = temporaryFolders()
const short = (fields: Partial<TrainingRecipe['train']> = {}) =>
  classifierRecipe(folder(), { steps: 2, ...fields })

async function refused(recipe: TrainingRecipe): Promise<PareError> {
  const error = await train(recipe).then(
    () => undefined,
    (thrown) => thrown,
  )
  expect(error).toBeInstanceOf(PareError)
  return error
}

test('a folder that holds something else is refused, and with overwrite the files of others stay', async () => {
  const recipe = short()
  const mine = join(recipe.output!, 'mine.txt')
  const deep = join(recipe.output!, 'data', 'image.png')
  mkdirSync(join(recipe.output!, 'data'), { recursive: true })
  writeFileSync(mine, 'mine')
  writeFileSync(deep, 'mine too')
  writeFileSync(join(recipe.output!, 'config.json'), '{}')
  expect((await refused(recipe)).code).toBe('PARE_E_OUTPUT')
  expect(readdirSync(recipe.output!).sort()).toEqual(['config.json', 'data', 'mine.txt'])
  await train({ ...recipe, overwrite: true })
  expect([readFileSync(mine, 'utf8'), readFileSync(deep, 'utf8')]).toEqual(['mine', 'mine too'])
  expect(readFileSync(join(recipe.output!, 'config.json'), 'utf8')).toMatch(/pare_mlp/)
})
test('what somebody puts into the folder of a training stays there, also when it is done again', async () => {
  const recipe = short()
  await train(recipe)
  const notes = join(recipe.output!, 'notes.md')
  writeFileSync(notes, 'best so far')
  // Of a result this one is an old part, as of a training of another kind.
  writeFileSync(join(recipe.output!, 'tokenizer.json'), '{}')
  await train({ ...recipe, restart: true })
  expect(readFileSync(notes, 'utf8')).toBe('best so far')
  expect(existsSync(join(recipe.output!, 'tokenizer.json'))).toBe(false)
})
test('a log of another program is no training that has begun', async () => {
  const recipe = short()
  mkdirSync(recipe.output!)
  const log = join(recipe.output!, 'log.jsonl')
  writeFileSync(log, '{"step":1000}\n')
  expect((await refused(recipe)).code).toBe('PARE_E_OUTPUT')
  expect(readFileSync(log, 'utf8')).toBe('{"step":1000}\n')
})
test('a compression that is not finished or is done is not trained over', async () => {
  const recipe = short()
  mkdirSync(join(recipe.output!, '.pare'), { recursive: true })
  const journal = join(recipe.output!, '.pare', 'journal.jsonl')
  writeFileSync(journal, '')
  for (const flags of [{}, { overwrite: true }, { restart: true }]) {
    expect((await refused({ ...recipe, ...flags })).message).toMatch(/compression that is not finished/)
    expect(existsSync(journal)).toBe(true)
  }
  const done = short()
  mkdirSync(done.output!)
  writeFileSync(join(done.output!, 'pare.json'), '{}')
  expect((await refused({ ...done, overwrite: true })).message).toMatch(/pare\.json of a compression/)
})
test('the model that a training goes on from, and its recipe, are never its output', async () => {
  const first = short()
  await train(first)
  const again = { ...short({ model: { source: first.output! } }), output: first.output!, restart: true }
  expect((await refused(again)).message).toMatch(/which would be lost/)
  const student = { ...short({ distill: { teacher: first.output! } }), output: first.output!, restart: true }
  expect((await refused(student)).message).toMatch(/which would be lost/)
  const recipe = short()
  mkdirSync(recipe.output!)
  const path = join(recipe.output!, 'config.json')
  writeFileSync(path, JSON.stringify({ ...recipe, overwrite: true }))
  await expect(train(path)).rejects.toThrow(/config\.json, which would be lost/)
})
test('a training that is begun again and fails before its first step leaves the finished one', async () => {
  const recipe = short()
  const report = await train(recipe)
  const groups = [{ match: 'nothing', decay: 0 }]
  const wrong = short({ optimiser: { name: 'adamw', groups } })
  const error = await refused({ ...wrong, output: recipe.output!, restart: true })
  expect(error).toBeInstanceOf(OptionError)
  expect(await train(recipe)).toEqual(report)
})
test('a refused training leaves no trace in the folder of a finished one', async () => {
  const recipe = short()
  await train(recipe)
  const before = readdirSync(recipe.output!)
  expect((await refused({ ...recipe, seed: 9 })).exitCode).toBe(3)
  expect(readdirSync(recipe.output!)).toEqual(before)
})
test('a result gives the same logits back, without what only the training needs', () => {
  const output = folder()
  const small: LstmConfig = { vocabulary: 7, embedding: 4, hidden: 4, layers: 2, dropout: 0, tied: true }
  const configFile = join(output, 'config.json')
  const ids = tensor([3, 0, 6, 1, 2, 5], [2, 3], 'u32')
  for (const config of [small, { ...small, embedding: 3, tied: false, dropout: 0.25 }]) {
    const parameters = new Parameters()
    const model = new LstmLanguageModel(config, freshWeights(parameters, { seed: 0 }))
    const own = parameters.matching()
    parameters.addBuffer(`${carriedPrefix}0.hidden`, zeros([2, 4]))
    parameters.add(`${distillationPrefix}0.weight`, zeros([4, 4]))
    parameters.freeze('embedding.weight')
    writeTrainingResult(output, {
      parameters,
      files: new Map([['config.json', JSON.stringify(lstmToJson(config))]]),
      stored: 'f32',
      report: (files) => ({ files }),
    })
    const loaded = loadLstm(output)
    expect(loaded.model.config).toEqual(config)
    expect(loaded.parameters.matching()).toEqual(own)
    const logitsOf = (from: LstmLanguageModel) => scope(() => from.logits(ids).bytes())
    expect(logitsOf(loaded.model)).toEqual(logitsOf(model))
    for (const all of [parameters, loaded.parameters]) all.dispose()
  }
  writeFileSync(configFile, JSON.stringify({ ...lstmToJson(small), hidden_size: 5, embedding_size: 5 }))
  expect(() => loadLstm(output)).toThrow(/embedding\.weight: the config asks for \[7, 5\]/)
  rmSync(configFile)
  expect(() => loadLstm(output)).toThrow(FormatError)
  expect(() => loadLstm(output)).toThrow(/has no config\.json/)
})
