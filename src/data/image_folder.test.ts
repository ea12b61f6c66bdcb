import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp, { type Sharp } from 'sharp'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readImage } from '../formats/image_file.ts'
import { AbortError, FormatError, OptionError, SourceError } from '../tensor/errors.ts'
import { readImageFolder } from './image_folder.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-images-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const raw = (pixels: number[], width: number, channels: 1 | 3 | 4 = 3) =>
  sharp(Uint8Array.from(pixels), {
    raw: { width, height: pixels.length / width / channels, channels },
  })
async function place(path: string, image: Sharp | Uint8Array): Promise<string> {
  const parts = path.split('/')
  mkdirSync(join(folder, ...parts.slice(0, -1)), { recursive: true })
  writeFileSync(join(folder, path), image instanceof Uint8Array ? image : await image.toBuffer())
  return join(folder, path)
}
const red = [255, 0, 0]
const grey = [9, 9, 9]

describe('an image', () => {
  test('is read as red, green and blue, whatever it holds', async () => {
    const pixels = [...red, ...grey, 1, 2, 3, 4, 5, 6]
    const image = await readImage(await place('a.png', raw(pixels, 2).png()))
    expect([image.height, image.width, [...image.pixels]]).toEqual([2, 2, pixels])
    const one = await readImage(await place('b.png', raw([7, 200], 2, 1).toColourspace('b-w').png()))
    expect([...one.pixels]).toEqual([7, 7, 7, 200, 200, 200])
    const clear = await readImage(await place('c.png', raw([...red, 255, ...grey, 0], 2, 4).png()))
    expect([...clear.pixels]).toEqual([...red, ...grey])
  })
  test('of JPEG is read to within what the packing loses', async () => {
    const pixels = Array.from({ length: 16 * 16 }, () => [200, 100, 50]).flat()
    const { pixels: found } = await readImage(await place('a.jpg', raw(pixels, 16).jpeg({ quality: 95 })))
    // One step of quantisation at quality 95 moves a flat block by at most two levels.
    for (const [i, value] of found.entries()) expect(Math.abs(value - pixels[i]!)).toBeLessThanOrEqual(2)
  })
  test('that is cut, damaged, or of another kind is refused by name', async () => {
    const noise = Array.from({ length: 48 * 16 }, (_, i) => (i * i * 31) % 256)
    const whole = await raw(noise, 16).png().toBuffer()
    for (const length of [0, 3, 9, 40, whole.length >> 1, whole.length - 20])
      await expect(readImage(await place('cut.png', whole.subarray(0, length)))).rejects.toThrow(FormatError)
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    await expect(readImage(await place('a.png', svg))).rejects.toThrow(
      /a\.png: is neither PNG nor JPEG nor WebP/,
    )
    await expect(readImage(join(folder, 'none.png'))).rejects.toThrow(SourceError)
  })
  test('that says it has too many pixels is refused before they are unpacked', async () => {
    const bytes = await sharp({
      create: { width: 8200, height: 8200, channels: 3, background: 'red' },
      limitInputPixels: false,
    })
      .png({ compressionLevel: 1 })
      .toBuffer()
    await expect(readImage(await place('large.png', bytes))).rejects.toThrow(/large\.png: .*pixel limit/)
  })
})

describe('a folder', () => {
  test('has a class for each folder in it, images by class and name, in one size', async () => {
    await place('b/2.png', raw([...grey, ...grey], 2).png())
    await place('b/1.jpg', raw(Array(64).fill(red).flat(), 8).jpeg())
    await place('a/x.png', raw(red, 1).png())
    await place('.hidden/x.png', Uint8Array.of(1))
    const set = await readImageFolder(folder, { height: 2, width: 2 })
    expect([set.classes, [...set.labels], set.count]).toEqual([['a', 'b'], [0, 1, 1], 3])
    expect([...set.pixels.subarray(0, 12)]).toEqual([...red, ...red, ...red, ...red])
    expect([...set.pixels.subarray(24)]).toEqual(Array(12).fill(9))
    const other = await readImageFolder(folder, { height: 1, width: 1, classes: ['b', 'a'] })
    expect([...other.labels]).toEqual([0, 0, 1])
    await expect(readImageFolder(folder, { height: 1, width: 1, classes: ['b'] })).rejects.toThrow(
      /a: the label a is none of the classes b; move the folder away/,
    )
  })
  test('without classes or images, or with other files, is refused', async () => {
    const read = () => readImageFolder(folder, { height: 2, width: 2 })
    await expect(read()).rejects.toThrow(/one folder for each class/)
    mkdirSync(join(folder, 'empty'))
    await expect(read()).rejects.toThrow(/empty: has no images/)
    await place('empty/notes.txt', Uint8Array.of(65))
    await expect(read()).rejects.toThrow(/notes\.txt: images end in/)
    await expect(readImageFolder(join(folder, 'none'), { height: 2, width: 2 })).rejects.toThrow(SourceError)
    await expect(readImageFolder(folder, { height: 0, width: 2 })).rejects.toThrow(OptionError)
  })
  test('with one damaged image names it', async () => {
    await place('a/1.png', raw(red, 1).png())
    await place('a/2.png', Uint8Array.of(1, 2, 3))
    await expect(readImageFolder(folder, { height: 2, width: 2 })).rejects.toThrow(/2\.png/)
  })
  test('takes links to folders as the folders, with and without classes that are given', async () => {
    await place('set/a/1.png', raw(red, 1).png())
    await place('elsewhere/1.png', raw(grey, 1).png())
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'set', 'b'))
    // A link to a file is no class.
    await place('notes.txt', Uint8Array.of(65))
    symlinkSync(join(folder, 'notes.txt'), join(folder, 'set', 'notes.txt'))
    const read = (classes?: string[]) =>
      readImageFolder(join(folder, 'set'), { height: 1, width: 1, ...(classes && { classes }) })
    const set = await read()
    expect([set.classes, [...set.pixels]]).toEqual([
      ['a', 'b'],
      [...red, ...grey],
    ])
    expect([...(await read(['b', 'a'])).labels]).toEqual([0, 1])
    await expect(read(['a'])).rejects.toThrow(/the label b is none of the classes a/)
    symlinkSync(join(folder, 'gone'), join(folder, 'set', 'c'))
    await expect(read()).rejects.toThrow(SourceError)
    await expect(read()).rejects.toThrow(/set.c: cannot be read \(ENOENT\)/)
  })
  test('with an image beside the classes is refused by its name, and by that of a link to one', async () => {
    await place('set/a/1.png', raw(red, 1).png())
    await place('set/README.txt', Uint8Array.of(65))
    const read = (classes?: string[]) =>
      readImageFolder(join(folder, 'set'), { height: 1, width: 1, ...(classes && { classes }) })
    expect((await read()).count).toBe(1)
    const image = await place('2.JPEG', raw(red, 1).jpeg())
    symlinkSync(image, join(folder, 'set', '2.JPEG'))
    for (const classes of [undefined, ['a']]) {
      await expect(read(classes)).rejects.toThrow(FormatError)
      await expect(read(classes)).rejects.toThrow(/set.2\.JPEG: an image needs a class.*move it into one/)
    }
  })
  test('of many images keeps their order, and names the first that is damaged', async () => {
    const names = Array.from({ length: 30 }, (_, i) => `${100 + i}.png`)
    for (const [i, name] of names.entries()) {
      // The first ones take longest.
      const side = i % 8 === 0 ? 256 : 1
      await place(`a/${name}`, raw(Array(side * side * 3).fill(i), side).png())
    }
    const { pixels } = await readImageFolder(folder, { height: 1, width: 1 })
    expect([...pixels]).toEqual(names.flatMap((_, i) => [i, i, i]))
    const noise = Array.from({ length: 3 * 256 * 256 }, (_, i) => (i * i * 31) % 256)
    const whole = await raw(noise, 256).png().toBuffer()
    await place(`a/${names[10]}`, whole.subarray(0, whole.length - 40))
    await place(`a/${names[12]}`, Uint8Array.of(1, 2, 3))
    await expect(readImageFolder(folder, { height: 1, width: 1 })).rejects.toThrow(/110\.png/)
  })
  test('stops where the signal says so', async () => {
    for (let i = 0; i < 30; i++) await place(`a/${i}.png`, raw(red, 1).png())
    const stop = new AbortController()
    const read = () => readImageFolder(folder, { height: 2, width: 2, signal: stop.signal })
    expect((await read()).count).toBe(30)
    setImmediate(() => stop.abort())
    await expect(read()).rejects.toThrow(AbortError)
    await expect(read()).rejects.toThrow(AbortError)
  })
})
