import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { asset, assets } from '../../src/formats/tokenizer/assets.suite.ts'
import { modelsFolder, zooModel, zooNames, zooRecipe, zooSettings } from './zoo.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-zoo-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('every recipe is valid, says its steps and names no folder of its own', () => {
  expect(zooNames()).toEqual([
    'lenet',
    'lm-2m',
    'lm-6m',
    'lm-6m-gqa',
    'mlp',
    'pare-4m',
    'resnet-20',
    'resnet-8',
  ])
  for (const name of zooNames()) {
    const { train, output } = zooSettings(name)
    expect((train.steps ?? train.epochs)! > 0, name).toBe(true)
    expect([output, JSON.stringify(zooRecipe(name, 'ASSETS').train.data)]).toEqual([
      '',
      expect.stringMatching(/ASSETS/),
    ])
  }
})

test('language models share text and split, and the widths that groups and block types need', () => {
  for (const name of zooNames().filter((name) => /^(pare|lm)-/.test(name))) {
    const { data, model } = zooSettings(name).train
    expect(data).toMatchObject({ kind: 'text', length: 256, validation: { every: 10, tail: 0.1 } })
    if (name === 'lm-2m') continue
    const { hidden, feedForward } = model as { hidden: number; feedForward: number }
    expect([hidden % 256, feedForward % 256], name).toEqual([0, 0])
  }
})

test('a name that is not there is refused with those that are', async () => {
  await expect(zooModel('lm-7m', { assets: folder, cache: folder })).rejects.toThrow(
    /lm-7m: is not in the zoo; .*lm-6m/,
  )
})

const committed = join(modelsFolder, 'pare-4m')
test('the committed model is the one of its recipe', async () => {
  expect(await zooModel('pare-4m', { assets: folder, cache: folder })).toBe(committed)
  const { run, seed, evaluation } = JSON.parse(readFileSync(join(committed, 'training.json'), 'utf8'))
  const { train, seed: asked } = zooSettings('pare-4m')
  const { data: _, evaluation: __, checkpoint: ___, ...rest } = train
  expect([run.train, seed]).toEqual([expect.objectContaining(rest), asked])
  expect(evaluation.bitsPerByte).toBeLessThan(2)
})

test.skipIf(!asset('data', 'mnist-10k'))(
  'a model is trained once: a stop keeps a checkpoint, and what is whole is taken as it is (needs PARE_ASSETS)',
  async () => {
    const options = { assets: assets!, cache: join(folder, 'cache') }
    const stop = new AbortController()
    const progress = (event: { kind: string }) => {
      if (event.kind === 'training') stop.abort()
    }
    await expect(zooModel('resnet-8', { ...options, signal: stop.signal, progress })).rejects.toThrow(
      /stopped/,
    )
    const [name] = readdirSync(options.cache)
    expect(name).toMatch(/^resnet-8-[0-9a-f]{12}$/)
    expect(existsSync(join(options.cache, name!, '.pare'))).toBe(true)
  },
)
