import { expect, test } from 'vitest'
import { asset, assets } from '../../src/formats/tokenizer/assets.suite.ts'
import { byEra, bytesOf, corpus, eras, sharedShares } from './corpus.ts'

const hasText = asset('data', 'text-sotu')

test.skipIf(!hasText)(
  'every document is in one era, and every era is on both sides (needs PARE_ASSETS)',
  () => {
    const { train, heldOut } = corpus({ assets: assets! })
    for (const document of [...train, ...heldOut])
      expect(eras.filter(({ holds }) => holds(document))).toHaveLength(1)
    const counts = (documents: typeof train) => byEra(documents).map(({ documents }) => documents.length)
    expect(counts(train)).toEqual([64, 48, 28, 70, 1])
    expect(counts(heldOut)).toEqual([7, 5, 3, 8, 1])
    expect([bytesOf(train), bytesOf(heldOut)]).toEqual([10_792_907, 1_173_503])
  },
)

test.skipIf(!hasText)(
  'no held-out document is in the training text, though presidents repeat sentences (needs PARE_ASSETS)',
  () => {
    const { train, heldOut } = corpus({ assets: assets! })
    const names = new Set(train.filter(({ kind }) => kind === 'address').map(({ name }) => name))
    expect(heldOut.filter(({ kind, name }) => kind === 'address' && names.has(name))).toEqual([])
    const shares = sharedShares(
      heldOut.map(({ text }) => text),
      train.map(({ text }) => text),
    )
    // The most is 1899, which shares sentences on the Treasury with 1900.
    expect(Math.max(...shares)).toBeLessThan(0.03)
  },
)

test.skipIf(!hasText)('the files need no cleaning but for one sign (needs PARE_ASSETS)', () => {
  const { train, heldOut } = corpus({ assets: assets! })
  const odd = [...train, ...heldOut].flatMap(({ name, text }) =>
    [...text.matchAll(/[\0-\x08\x0b-\x1f\x7f\ufffd\ufeff]/g)].map(([sign]) => [name, sign]),
  )
  expect(odd).toEqual([['1890_benjamin_harrison_r.txt', '\x02']])
})

test('a passage counts where it stands in another text at any place', () => {
  expect(sharedShares(['abcdefgh', 'abcdabcd', 'abc'], ['xxabcdxx', 'abc'], 4)).toEqual([0.5, 1, 0])
})
