/** Parts of networks and of trainings as a program uses them, beside the jobs of `index.test.ts`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { asset } from './formats/tokenizer/assets.suite.ts'
import {
  BatchNorm,
  Convolution,
  classifyImage,
  clipValues,
  createTextGenerator,
  denseSource,
  dispose,
  estimateStatistics,
  exponentialAverage,
  FormatError,
  foldConvolution,
  identityNorm,
  labelledTexts,
  openEfficientNetLite0,
  openLanguageModel,
  Parameters,
  SourceError,
  State,
  scope,
  tensor,
  warmedDecay,
} from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-parts-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const file = asset('models/efficientnet-lite0/efficientnet-lite0-57934424.pth')
const photograph = asset('data/images-skimage', 'coffee.png')

describe('classifyImage', () => {
  test.skipIf(!file || !photograph)('names the class of an image (needs PARE_ASSETS)', async () => {
    const { model, close } = openEfficientNetLite0(file!)
    const resident = model.load()
    const [best] = await classifyImage(resident, photograph!, 1)
    // Espresso.
    expect(best?.index).toBe(967)
    dispose(resident)
    close()
  })
  test('begins with a file of torch, and others are refused', () => {
    expect(() => openEfficientNetLite0(join(folder, 'missing.pth'))).toThrow(SourceError)
    writeFileSync(join(folder, 'text.pth'), 'hello')
    expect(() => openEfficientNetLite0(join(folder, 'text.pth'))).toThrow(FormatError)
  })
})
test('createTextGenerator continues a text, and tells each token as it comes', async () => {
  const open = openLanguageModel(fileURLToPath(new URL('../experiments/models/pare-4m', import.meta.url)))
  const generator = createTextGenerator(open)
  const prompt = open.tokenizer().encode('Call me')
  const kinds: string[] = []
  let text = ''
  for await (const event of generator.generate({
    prompt,
    maxTokens: 8,
    temperature: 0.7,
    topP: 0.9,
    seed: 1,
  })) {
    kinds.push(event.kind)
    if (event.kind !== 'prompt') text += event.text
  }
  await generator.close()
  open.close()
  expect(kinds).toEqual(['prompt', ...Array(8).fill('token'), 'end'])
  expect(text).toMatch(/[a-z]/)
})
test('a norm with statistics taken anew goes into the convolution before it, and an identity stands for it', () => {
  scope(() => {
    const convolution = new Convolution('stem', denseSource(tensor([1, -2], [1, 1, 1, 2])), {
      kernel: [1, 1],
    })
    const norm = new BatchNorm({
      runningMean: new State('mean', [1], 'f32'),
      runningVariance: new State('variance', [1], 'f32'),
    })
    const x = tensor([1, 0, 3, 1, 2, 2, 5, 1], [4, 1, 1, 2])
    estimateStatistics([norm], () => norm.forward(convolution.forward(x), 'batch'))
    // Of 1, 1, -2 and 3.
    expect(norm.weights.runningMean.tensor().item()).toBe(0.75)
    const wanted = norm.forward(convolution.forward(x), 'running').toArray()
    const folded = foldConvolution(convolution, norm).forward(x)
    const identity = identityNorm('stem.norm', 1)
    for (const found of [folded, identity.forward(folded, 'running')])
      for (const [i, value] of found.toArray().entries()) expect(value).toBeCloseTo(Number(wanted[i]), 5)
    dispose([norm, identity].flatMap(({ weights }) => [weights.runningMean, weights.runningVariance]))
  })
})
test('labelledTexts reads texts with the numbers of their classes', async () => {
  const rows = join(folder, 'rows.jsonl')
  writeFileSync(rows, '{"text":"fine","label":"good"}\n{"text":"poor","label":"bad"}\n')
  expect(await labelledTexts([rows])).toEqual({
    texts: ['fine', 'poor'],
    labels: Uint32Array.of(1, 0),
    classes: ['bad', 'good'],
  })
})
test('an average with a warmed decay forgets its beginning, and gradients are clipped entry by entry', () => {
  const parameters = new Parameters()
  parameters.add('w', tensor([0]))
  const average = exponentialAverage({ decay: warmedDecay(0.9999) })(parameters)
  parameters.assign('w', tensor([1]))
  average.update()
  // A tenth of the old value stays at the first update.
  expect(average.states().get('w')!.tensor().item()).toBeCloseTo(0.9, 6)
  scope(() => {
    const clipped = clipValues(new Map([['w', tensor([-3, 0.5])]]), 1)
    expect([...clipped.get('w')!.toArray()]).toEqual([-1, 0.5])
  })
  average.dispose()
  parameters.dispose()
})
