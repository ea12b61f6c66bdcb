/** A vocabulary read in TypeScript has the ids that the native core gives. */
import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { createTokenizer } from './tokenizer.ts'
import { parseVocabulary } from './vocabulary.ts'

const added = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
})
const tokenizer = (vocab: Record<string, unknown>, added_tokens: unknown[]) =>
  JSON.stringify({
    version: '1.0',
    added_tokens,
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: 'BPE', vocab, merges: [] },
  })

test.each([
  ['added tokens after the vocabulary', { a: 0, b: 1 }, [added(2, '<s>'), added(3, '</s>')]],
  ['added tokens that the vocabulary has', { a: 0, '<s>': 1, b: 2 }, [added(1, '<s>'), added(3, '</s>')]],
  ['ids that the file gets wrong', { a: 0, b: 1 }, [added(7, '<s>'), added(5, '</s>')]],
  ['a vocabulary with a hole', { a: 0, b: 5 }, [added(6, '<s>'), added(7, '</s>')]],
  [
    'an added token beyond the hole',
    { a: 0, b: 5, '<s>': 9 },
    [added(9, '<s>'), added(10, '</s>'), added(11, 'zz')],
  ],
  ['no added tokens', { a: 0, b: 1, c: 2 }, []],
])('%s', (_, vocab, added_tokens) => {
  const json = tokenizer(vocab, added_tokens)
  const { idOf, size } = parseVocabulary(json)
  const native = createTokenizer(json)
  for (const token of ['a', 'b', 'c', '<s>', '</s>', 'zz'])
    expect(idOf(token), token).toBe(native.idOf(token))
  expect(size).toBe(native.vocabularySize)
  native.dispose()
})
test('a token without an id is refused', () => {
  expect(() => parseVocabulary(tokenizer({ a: 'x' }, []))).toThrow(FormatError)
})
