import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compress } from '../run/compress.ts'
import { resolveOptions } from '../run/compress_options.ts'
import { plan } from '../run/plan.ts'
import { fromRecipe, resolvedRecipe } from '../run/recipe_options.ts'
import { OptionError } from '../tensor/errors.ts'
import { writeTinyFolder } from './tiny_model.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-shards-'))
const source = join(folder, 'source')
beforeAll(() => void writeTinyFolder(source))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('a run writes shards of the size that its recipe asks for, as many bytes as its plan says', async () => {
  const output = join(folder, 'out')
  const recipe = { pare: 1, source, output, shardSize: '40kB', evaluation: false } as const
  const options = fromRecipe({ ...recipe, steps: [{ method: 'rtn' }] })
  const planned = await plan(options)
  const report = await compress(options)
  const shards = readdirSync(output).filter((name) => name.endsWith('.safetensors'))
  expect(shards.length).toBeGreaterThan(1)
  expect(shards.reduce((sum, name) => sum + statSync(join(output, name)).size, 0)).toBe(planned.bytes)
  expect(report.bytes).toBe(planned.bytes)
  expect(report.files).toEqual(expect.arrayContaining([...shards, 'model.safetensors.index.json']))
  expect(report.notes).toContainEqual(expect.stringMatching(`the weights are in ${shards.length} files`))
  expect(report.command!.join(' ')).toContain('--shard-size 40kB')
})
test('the default is 5 GB for folders, and a GGUF file has no shards', () => {
  const resolve = (options: object) => resolveOptions({ source: 'm', output: 'o', ...options })
  expect(resolve({ target: 'gptq' }).shardSize).toBe(5e9)
  expect(resolvedRecipe(resolve({})).shardSize).toBe('5GB')
  expect(resolvedRecipe(resolve({ target: 'gguf' }))).not.toHaveProperty('shardSize')
  expect(() => resolve({ target: 'gguf', shardSize: 1e9 })).toThrow(OptionError)
  expect(() => resolve({ target: 'gguf', shardSize: 1e9 })).toThrow(/--shard-size: .*gguf, which is one file/)
  expect(() => resolve({ shardSize: 0 })).toThrow(/--shard-size: a number of bytes or a size/)
})
