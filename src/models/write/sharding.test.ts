import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { INDEX_FILE, openSafetensors } from '../../formats/safetensors/safetensors.ts'
import { affineGrid } from '../../nn/grid.ts'
import { numbers } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { planGptq } from './gptq_target.ts'
import { planPare } from './pare_target.ts'
import { differences, reopened, sizeOf, writeAll, writeWideModel } from './sources.suite.ts'
import { folderSource } from './target.ts'

let folder: string
let wide: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sharding-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide')))
})
afterAll(() => {
  wide.close()
  rmSync(folder, { recursive: true })
})

const plans = {
  gptq: (maxShardBytes: number) =>
    planGptq(folderSource(wide), { grid: affineGrid({ zeroLow: 1 }), actOrder: false, maxShardBytes }),
  pare: (maxShardBytes: number) =>
    planPare(folderSource(wide), { grid: affineGrid(), groupsSorted: false, maxShardBytes }),
}
const shardsIn = (target: string) => readdirSync(target).filter((name) => name.endsWith('.safetensors'))

test.each(['gptq', 'pare'] as const)(
  '%s: shards hold what one file holds, and have the planned size to the byte',
  (target) => {
    const [whole, parts] = [join(folder, `${target}-one`), join(folder, `${target}-parts`)]
    const one = plans[target](1e9)
    const many = plans[target](60_000)
    const decided = writeAll(wide, one, { feedback: false }, whole)
    writeAll(wide, many, { feedback: false }, parts)

    expect(shardsIn(whole)).toEqual(['model.safetensors'])
    expect(one.notes).toEqual([])
    const names = shardsIn(parts)
    expect(names.length).toBeGreaterThan(2)
    expect(names[0]).toBe(`model-00001-of-0000${names.length}.safetensors`)
    expect(names.reduce((sum, name) => sum + sizeOf(join(parts, name)), 0)).toBe(many.fileBytes)
    // A file holds 60000 bytes of tensors and its header.
    for (const name of names) expect(sizeOf(join(parts, name))).toBeLessThan(62_000)
    expect(many.notes).toEqual([
      `the weights are in ${names.length} files; the index beside them takes ${sizeOf(join(parts, INDEX_FILE))} bytes`,
    ])

    const index = JSON.parse(readFileSync(join(parts, INDEX_FILE), 'utf8'))
    const archive = openSafetensors(parts)
    const bytes = [...archive.tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, 0)
    expect(index.metadata.total_size).toBe(bytes)
    expect(Object.keys(index.weight_map).sort()).toEqual([...archive.tensors.keys()].sort())
    archive.close()
    reopened(parts, ({ weights, format }) => {
      expect(format).toBe(target)
      expect(weights.fileBytes).toBe(many.fileBytes)
      for (const [name, values] of decided) expect(differences(numbers(weights.load(name)), values)).toBe(0)
    })
  },
)
test('a weight that is larger than a shard has a file of its own', () => {
  const plan = plans.pare(1)
  const target = join(folder, 'single')
  writeAll(wide, plan, { feedback: false }, target)
  const stored = plan.tensors.flatMap((tensor) => plan.stored(tensor))
  expect(shardsIn(target)).toHaveLength(stored.length)
})
