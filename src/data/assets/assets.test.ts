import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { asset, assets } from '../../formats/tokenizer/assets.suite.ts'
import { fingerprintOf } from '../../optim/examples.ts'
import { FormatError, SourceError } from '../../tensor/errors.ts'
import type { ImageSet } from '../image_set.ts'
import { digitsData, idxDigits, mnistData } from './digits.ts'
import { languageData } from './language.ts'
import { heldOutPhotographs, trainingPhotographs } from './photographs.ts'
import { texturedDigits } from './textured_digits.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-assets-'))
afterAll(() => rmSync(folder, { recursive: true }))
function place(content: string | Uint8Array, ...parts: string[]): string {
  mkdirSync(join(folder, ...parts.slice(0, -1)), { recursive: true })
  writeFileSync(join(folder, ...parts), content)
  return join(folder, ...parts)
}
const counts = ({ labels, classes }: ImageSet) =>
  classes.map((_, label) => labels.filter((l) => l === label).length)
const total = (set: ImageSet) => counts(set).reduce((sum, count) => sum + count, 0)
const imagesOf = ({ pixels, count }: ImageSet) => {
  const size = pixels.length / count
  return Array.from({ length: count }, (_, i) => fingerprintOf(pixels.subarray(i * size, (i + 1) * size)))
}

describe('MNIST and small digits', () => {
  test.skipIf(!asset('data', 'mnist-10k'))(
    'MNIST: 8,000 for training, 2,000 held out, none twice (needs PARE_ASSETS)',
    () => {
      const { train, heldOut } = mnistData({ assets: assets! })
      expect([total(train), total(heldOut)]).toEqual([8000, 2000])
      expect(counts(train).map((count, digit) => count + counts(heldOut)[digit]!)).toEqual([
        1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978,
      ])
      expect(new Set([...imagesOf(train), ...imagesOf(heldOut)]).size).toBe(10_000)
      expect([
        Math.min(...train.pixels.subarray(0, 784)),
        Math.max(...train.pixels.subarray(0, 784)),
      ]).toEqual([0, 255])
    },
  )
  test.skipIf(!asset('data', 'images-sklearn'))(
    'small digits: the first row is the zero of the file (needs PARE_ASSETS)',
    () => {
      const { train, heldOut } = digitsData({ assets: assets! })
      expect([train.count, heldOut.count, train.maximum]).toEqual([1438, 359, 16])
      expect([train.labels[0], ...train.pixels.subarray(0, 8)]).toEqual([0, 0, 0, 5, 13, 9, 1, 0, 0])
    },
  )
  test('damaged files are named with the image or row', () => {
    const digit = (n: number) => ['data', 'mnist-10k', 'src', 'digits', `${n}.json`]
    const zeros = JSON.stringify({ data: Array(784).fill(0) })
    for (let n = 0; n < 10; n++) place(zeros, ...digit(n))
    expect(mnistData({ assets: folder }).train.count).toBe(8)
    const refuse = (content: string, message: RegExp) => {
      place(content, ...digit(3))
      expect(() => mnistData({ assets: folder })).toThrow(FormatError)
      expect(() => mnistData({ assets: folder })).toThrow(message)
    }
    refuse('{"data": [0, 1]}', /3\.json: needs "data", a list of pixels in images of 784, it has 2/)
    refuse(JSON.stringify({ data: [...Array(1567).fill(0), 2] }), /3\.json: image 1 has a pixel/)
    refuse('{"pixels": []}', /it has none/)
    refuse('[', /3\.json/)
    const csv = (...rows: string[]) =>
      place(gzipSync(rows.join('\n')), 'data', 'images-sklearn', 'digits.csv.gz')
    const row = (label: string) => `${'0,'.repeat(64)}${label}`
    csv(row('1'), row('10'))
    expect(() => digitsData({ assets: folder })).toThrow(/row 1 \(from 0\) has label 10/)
    csv(row('1'), '17,'.concat(row('1').slice(2)))
    expect(() => digitsData({ assets: folder })).toThrow(/row 1/)
    expect(() => digitsData({ assets: join(folder, 'none') })).toThrow(SourceError)
  })
  test('pairs of IDX files must fit, and labels must be digits', () => {
    const images = place(Uint8Array.of(0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4), 'images')
    const labels = (...list: number[]) =>
      place(Uint8Array.of(0, 0, 8, 1, 0, 0, 0, list.length, ...list), 'labels')
    const set = idxDigits(images, labels(7, 1))
    expect([set.height, set.width, ...set.labels, ...set.pixels]).toEqual([1, 2, 7, 1, 1, 2, 3, 4])
    expect(() => idxDigits(images, labels(7))).toThrow(/labels: has 1 labels for the 2 images of .*images/)
    expect(() => idxDigits(images, labels(7, 10))).toThrow(/labels: row 1 \(from 0\) has label 10/)
  })
})

describe('addresses and the novel', () => {
  test.skipIf(!asset('data', 'text-sotu'))(
    'every tenth address and the end of the novel are held out (needs PARE_ASSETS)',
    () => {
      const { train, heldOut } = languageData({ assets: assets! })
      const kind = (documents: typeof train, wanted: string) =>
        documents.filter(({ kind }) => kind === wanted)
      expect([kind(train, 'address').length, kind(heldOut, 'address').length]).toEqual([210, 23])
      expect(kind(heldOut, 'address')[0]!.year).toBe(1799)
      const names = new Set(kind(train, 'address').map(({ name }) => name))
      expect(kind(heldOut, 'address').some(({ name }) => names.has(name))).toBe(false)
      const [begin, end] = [kind(train, 'novel')[0]!.text, kind(heldOut, 'novel')[0]!.text]
      expect(begin.startsWith('CHAPTER 1. Loomings.') && begin.endsWith('\n\n')).toBe(true)
      expect(end.endsWith('five thousand years ago.\n')).toBe(true)
      expect(end.length / (begin.length + end.length)).toBeCloseTo(0.1, 2)
    },
  )
  test('missing texts and names without a year are refused', () => {
    expect(() => languageData({ assets: folder })).toThrow(SourceError)
    place('My fellow citizens', 'data', 'text-sotu', 'data', 'address.txt')
    place('Call me', 'data', 'text-moby-dick', 'data', 'data.txt')
    expect(() => languageData({ assets: folder })).toThrow(/address\.txt: the name of an address begins/)
  })
})

describe('moved digits on textures', () => {
  test('no photograph is on both sides', () => {
    const all = [...trainingPhotographs, ...heldOutPhotographs]
    expect(new Set(all).size).toBe(18)
  })
  test.skipIf(!asset('data', 'images-skimage'))(
    'all held-out digits and so many of each class (needs PARE_ASSETS)',
    async () => {
      const { train, heldOut } = await texturedDigits({ assets: assets!, perClass: 20 })
      expect(counts(train)).toEqual(Array(10).fill(20))
      expect([heldOut.count, train.pixels.length]).toEqual([2000, 200 * 3072])
      expect(new Set([...imagesOf(train), ...imagesOf(heldOut)]).size).toBe(2200)
    },
  )
})
