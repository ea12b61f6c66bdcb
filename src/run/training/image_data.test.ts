import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { AbortError, OptionError, type PareError } from '../../tensor/errors.ts'
import { readImageData } from './image_data.ts'
import { temporaryFolders, writeBars, writeIdx } from './training_recipes.suite.ts'

const folder = temporaryFolders()

/** Black and white columns in turn. */
function idx(place: string, count: number, [height, width]: readonly [number, number]) {
  const files = {
    images: join(place, `${height}x${width}.idx`),
    labels: join(place, `${height}x${width}.labels`),
  }
  const pixels = Uint8Array.from({ length: count * height * width }, (_, i) => (i % 2) * 255)
  writeIdx(files.images, [count, height, width], pixels)
  writeIdx(files.labels, [count], new Uint8Array(count))
  return files
}

test.each([
  [[4, 4], '4 x 4 x 1'],
  // As many pixels.
  [[4, 16], '4 x 16 x 1'],
] as const)(
  'held-out images of %j beside training images of [8,8] are refused with both sizes',
  async (size, found) => {
    const place = folder()
    const recipe = { kind: 'idx', ...idx(place, 5, [8, 8]), validation: idx(place, 3, size) } as const
    const error = await readImageData(recipe).then(
      () => expect.fail('it is accepted'),
      (thrown: PareError) => thrown,
    )
    expect(error).toBeInstanceOf(OptionError)
    expect(error.message).toMatch(/^train\.data\.validation: needs images of 8 x 8 x 1 .*8x8\.idx has them/)
    expect(error.message).toContain(`has ${found}; give held-out images of that size`)
    expect(error.facts).toMatchObject({ field: 'train.data.validation', needed: '8 x 8 x 1', found })
  },
)
test('held-out images of files of their own are taken where they have the size of the others', async () => {
  const place = folder()
  const validation = idx(place, 3, [12, 12])
  const data = await readImageData({ kind: 'idx', ...writeBars(place, 20), validation })
  expect([data.image, data.train.count, data.heldOut.count]).toEqual([[12, 12, 1], 20, 3])
})
test('a signal stops the reading of a folder of images, and that of a file', async () => {
  const place = folder()
  mkdirSync(join(place, 'a'))
  const image = sharp(Uint8Array.of(255, 0, 0), { raw: { width: 1, height: 1, channels: 3 } })
  for (let i = 0; i < 30; i++) await image.clone().toFile(join(place, 'a', `${i}.png`))
  const stop = new AbortController()
  setImmediate(() => stop.abort())
  const recipe = { kind: 'images', folder: place, height: 2, width: 2 } as const
  await expect(readImageData(recipe, { signal: stop.signal })).rejects.toThrow(AbortError)
  const bars = { kind: 'idx', ...writeBars(place) } as const
  await expect(readImageData(bars, { signal: stop.signal })).rejects.toThrow(AbortError)
})
