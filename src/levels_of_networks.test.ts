import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { layerGrams } from './calibrate/layer_grams.ts'
import { openLevels, writeLevels } from './calibrate/level_database.ts'
import { decodeLevel } from './calibrate/levels.ts'
import { freshWeights } from './models/classifiers/fresh_weights.ts'
import { lenet } from './models/classifiers/lenet.ts'
import { Parameters } from './nn/parameters.ts'
import { denseSource } from './nn/weight_source.ts'
import { exactObs } from './prune/exact_obs.ts'
import { obsLevels } from './prune/obs_levels.ts'
import { obqLevels } from './quantize/obq_levels.ts'
import { type Profile, stitch } from './search/stitch.ts'
import { randomStream, scope, type Tensor } from './tensor/index.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)

test('the levels of a network go to a folder, and a profile stitched under a budget runs', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-stitch-'))
  const parameters = new Parameters()
  try {
    const network = lenet(
      { classes: 5, image: [12, 12, 1], convolutions: [4, 6], hidden: 16 },
      freshWeights(parameters, { seed: 0 }),
    )
    // Neighbouring pixels are alike, so that the inputs of the layers are correlated.
    const noise = randomStream(0, 'images').normal([24, 12, 12, 1])
    const images = noise.add(noise.slice(2, 0, 1)).add(noise.slice(1, 0, 1))
    const want = network.forward(images)
    const grams = layerGrams(network.layers, () => void network.forward(images))
    const writer = writeLevels(folder)
    const pattern = { n: 2, m: 4 }
    const pruners = [{ name: '2:4', method: exactObs({ pattern: { kind: 'n:m', ...pattern } }), pattern }]
    for (const [name, { weight, groups, uses }] of grams) {
      const task = { name, dense: weight, current: weight, statistics: groups[0]! }
      const shape = weight.shape as [number, number]
      // The 9 or 25 inputs of a first convolution are no groups of 4.
      const methods = [
        obsLevels({ sparsities: [0, 0.5, 0.75] }),
        obqLevels({ pruners: shape[1] % 4 === 0 ? pruners : [] }),
      ]
      writer.add(
        { name, shape, uses },
        methods.flatMap((method) => [...method.levels(task)]),
      )
    }
    const database = openLevels(folder)
    const change = (profile: Profile): number => {
      const before = new Map([...network.layers].map(([name, layer]) => [name, layer.source]))
      try {
        for (const [name, layer] of network.layers)
          layer.source = denseSource(decodeLevel(database.read(name, profile[name]!)))
        const found = numbers(network.forward(images))
        return numbers(want).reduce((sum, x, i) => sum + (x - found[i]!) ** 2, 0)
      } finally {
        for (const [name, layer] of network.layers) layer.source = before.get(name)!
      }
    }
    const options = { layers: database.layers, costs: { kind: 'bit operations' }, target: 6 } as const
    const plain = stitch(options)
    const searched = stitch({
      ...options,
      search: { judge: (profile) => scope(() => change(profile)), starts: 10, tries: 5 },
    })
    for (const { cost, budget } of [plain, searched]) expect(cost).toBeLessThanOrEqual(budget)
    expect(searched.judged!.loss).toBeLessThanOrEqual(change(plain.profile))
    expect(change(plain.profile)).toBeGreaterThan(0)
    const dense = Object.fromEntries(database.layers.map(({ name }) => [name, 'sparse 0.0000']))
    expect(change(dense)).toBe(0)
  } finally {
    parameters.dispose()
    rmSync(folder, { recursive: true })
  }
})
