import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'
import { asset } from '../../formats/tokenizer/assets.suite.ts'
import { OptionError } from '../../tensor/errors.ts'
import { dispose } from '../../tensor/index.ts'
import { numbers } from '../llama/fixtures.suite.ts'
import { classifyImage, readMiddle } from './classify_image.ts'
import { openEfficientNetLite0 } from './efficientnet.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('the model sees the middle: a frame of an eighth of the shorter side, and more of the longer, is left out', async () => {
  const path = join(folder, 'framed.png')
  // 256 x 320: the frame of 16 and 48 points is black, what is inside white.
  await sharp({ create: { width: 320, height: 256, channels: 3, background: 'black' } })
    .composite([
      { input: { create: { width: 224, height: 224, channels: 3, background: 'white' } }, left: 48, top: 16 },
    ])
    .png()
    .toFile(path)
  const image = await readMiddle(path, 224)
  expect(image.shape).toEqual([1, 224, 224, 3])
  expect(numbers(image).every((colour) => colour === 255)).toBe(true)
  image.dispose()
})

const file = asset('models/efficientnet-lite0/efficientnet-lite0-57934424.pth')
const photographs = [
  { name: 'chelsea.png', what: 'a cat', classes: [281, 282, 283, 284, 285], least: 0.5 },
  { name: 'coffee.png', what: 'espresso', classes: [967], least: 0.9 },
].map((photograph) => ({ ...photograph, path: asset('data/images-skimage', photograph.name) }))

describe.skipIf(!file || photographs.some(({ path }) => !path))('Lite0 (needs PARE_ASSETS)', () => {
  test.each(photographs)('$name is $what', async ({ path, classes, least }) => {
    const { model, close } = openEfficientNetLite0(file!)
    const resident = model.load()
    try {
      const found = await classifyImage(resident, path!)
      expect(found).toHaveLength(5)
      expect(classes).toContain(found[0]!.index)
      const together = found.filter(({ index }) => classes.includes(index))
      expect(together.reduce((sum, { probability }) => sum + probability, 0)).toBeGreaterThan(least)
      await expect(classifyImage(resident, path!, 0)).rejects.toThrow(OptionError)
    } finally {
      dispose(resident)
      close()
    }
  })
})
