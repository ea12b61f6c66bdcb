import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { asset } from '../../formats/tokenizer/assets.suite.ts'
import { FormatError, OptionError } from '../../tensor/errors.ts'
import { scope, tensor } from '../../tensor/index.ts'
import { distance, fixturePath, numbers } from '../llama/fixtures.suite.ts'
import { loadLanguageModel, openLanguageModel, openModel } from '../load_model.ts'
import { type EncoderName, encoderPath, encoders, expectedOf, openEncoder } from './fixtures.suite.ts'
import { pool } from './pooling.ts'
import { embedTexts, sentenceEncoder } from './sentence_encoder.ts'
import { longestText, readSentenceSettings } from './sentence_settings.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-sentences-'))
afterAll(() => rmSync(folder, { recursive: true }))

const { texts, vectors, width } = expectedOf('bert-sentence')

function embedded(name: EncoderName, given: readonly string[], options = {}) {
  const open = openEncoder(name)
  try {
    return embedTexts(open, given, options)
  } finally {
    open.close()
  }
}

describe.each(encoders)('%s', (name) => {
  const expected = expectedOf(name)
  test('the vectors of texts are those of the float64 oracle, in their order', () => {
    const found = embedded(name, expected.texts)
    expect(found).toHaveLength(expected.texts.length)
    for (const [i, vector] of found.entries()) {
      expect(vector).toBeInstanceOf(Float32Array)
      expect(distance([...vector], expected.vectors[i]!)).toBeLessThan(1e-5)
    }
  })
  test('the ids of texts are those of the oracle', () => {
    const open = openEncoder(name)
    scope(() => {
      const encoder = sentenceEncoder(open)
      expect(expected.texts.map((text) => [...encoder.encode(text)])).toEqual(
        expected.ids.map((ids) => [...ids]),
      )
    })
    open.close()
  })
})
test('a vector does not depend on the size of batches or on the other texts', () => {
  for (const batchTokens of [1, 20, 64]) {
    for (const [i, vector] of embedded('bert-sentence', texts, { batchTokens }).entries())
      expect(distance([...vector], vectors[i]!)).toBeLessThan(1e-5)
  }
  const [alone] = embedded('bert-sentence', [texts[3]!])
  expect(distance([...alone!], vectors[3]!)).toBeLessThan(1e-5)
})
test.each(encoders)('%s: read stage by stage, the vectors are those of the whole model in memory', (name) => {
  const open = openEncoder(name)
  scope(() => {
    for (const batchTokens of [1, 64]) {
      const encoder = sentenceEncoder(open, { resident: false, batchTokens })
      expect(encoder.embed(texts)).toEqual(sentenceEncoder(open, { batchTokens }).embed(texts))
    }
  })
  open.close()
})
test('what stands behind the longest text changes nothing', () => {
  const long = 'a b c d e f g h i j'
  const [one, other, short] = embedded('bert-sentence', [long, `${long} k cat cat`, long.slice(0, -2)])
  expect(other).toEqual(one)
  expect(short).not.toEqual(one)
})
test('no texts have no vectors', () => {
  expect(embedded('bert-sentence', [])).toEqual([])
})
test('vectors of the settings of sentence-transformers have length 1, in bf16 too', () => {
  for (const dtype of ['f32', 'bf16'] as const) {
    for (const vector of embedded('bert-sentence', texts, { dtype }))
      expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
  }
})
test('an encoder stays until it is closed, and then is gone', () => {
  const open = openEncoder('bert-sentence')
  const encoder = sentenceEncoder(open)
  open.close()
  expect([encoder.width, encoder.longest]).toEqual([width, 12])
  expect(encoder.embed([texts[0]!])).toEqual(encoder.embed([texts[0]!]))
  encoder.close()
  expect(() => encoder.embed([texts[0]!])).toThrow()
})

describe('pooling', () => {
  const hidden = () => tensor([1, 2, 3, 4, 5, 6, 70, 80, 9, 10, 11, 12], [2, 3, 2])
  test('the mean is over the tokens of a text, without the filling', () => {
    const found = scope(() => numbers(pool(hidden(), [2, 1], { pooling: 'mean', normalize: false })))
    expect(found).toEqual([2, 3, 70, 80])
  })
  test('the first state can stand for the text', () => {
    const found = scope(() => numbers(pool(hidden(), [2, 3], { pooling: 'first', normalize: false })))
    expect(found).toEqual([1, 2, 70, 80])
  })
  test('normalised vectors have length 1, and a vector of zeros stays', () => {
    const states = () => tensor([3, 4, 0, 0], [2, 1, 2])
    const found = scope(() => numbers(pool(states(), [1, 1], { pooling: 'mean', normalize: true })))
    expect(found[0]).toBeCloseTo(0.6, 6)
    expect(found.slice(2)).toEqual([0, 0])
  })
})

describe('settings', () => {
  const copy = (name: string, files: Record<string, unknown>) => {
    const path = join(folder, name)
    cpSync(encoderPath('bert-sentence'), path, { recursive: true })
    for (const [file, value] of Object.entries(files)) writeFileSync(join(path, file), JSON.stringify(value))
    return path
  }
  const step = (kind: string, path = '') => ({ type: `sentence_transformers.models.${kind}`, path })

  test('they come from the files beside the model', () => {
    expect(readSentenceSettings(encoderPath('bert-sentence'))).toEqual({
      pooling: 'mean',
      normalize: true,
      longest: 12,
      lowerCase: false,
    })
    expect(readSentenceSettings(encoderPath('bert-head'))).toEqual({
      pooling: 'mean',
      normalize: false,
      lowerCase: false,
    })
  })
  test('the first state, no normalisation and lower case can be asked for', () => {
    const path = copy('first', {
      'modules.json': [step('Transformer'), step('Pooling', '1_Pooling')],
      '1_Pooling/config.json': { pooling_mode_cls_token: true, pooling_mode_mean_tokens: false },
      'sentence_bert_config.json': { do_lower_case: true },
    })
    expect(readSentenceSettings(path)).toEqual({ pooling: 'first', normalize: false, lowerCase: true })
  })
  test.each([
    ['another step', { 'modules.json': [step('Transformer'), step('Dense', '2_Dense')] }, /Dense/],
    ['a path out of the folder', { 'modules.json': [step('Pooling', '../1_Pooling')] }, /plain name/],
    ['an absolute path', { 'modules.json': [step('Pooling', '/1_Pooling')] }, /plain name/],
    ['a step without settings', { 'modules.json': [step('Pooling', '7_Pooling')] }, /7_Pooling.*missing/],
    ['no list of steps', { 'modules.json': {} }, /list/],
    ['a step that is none', { 'modules.json': ['x'] }, /every step/],
    [
      'two kinds of pooling',
      { '1_Pooling/config.json': { pooling_mode_cls_token: true, pooling_mode_mean_tokens: true } },
      /mean_tokens/,
    ],
    ['another kind of pooling', { '1_Pooling/config.json': { pooling_mode_max_tokens: true } }, /max_tokens/],
    ['no length', { 'sentence_bert_config.json': { max_seq_length: 0 } }, /max_seq_length/],
  ])('%s is refused', (name, files, message) => {
    const path = copy(name, files)
    expect(() => readSentenceSettings(path)).toThrow(FormatError)
    expect(() => readSentenceSettings(path)).toThrow(message)
  })
})

test('a length with room for a token is kept to, and one without is refused before weights are read', () => {
  const path = join(folder, 'short')
  const ofLength = (longest: number) => {
    rmSync(path, { recursive: true, force: true })
    cpSync(encoderPath('bert-sentence'), path, { recursive: true })
    writeFileSync(join(path, 'sentence_bert_config.json'), JSON.stringify({ max_seq_length: longest }))
    return openModel(path)
  }
  for (const longest of [1, 2]) {
    const open = ofLength(longest)
    const load = () => scope(() => sentenceEncoder(open))
    expect(load).toThrow(FormatError)
    expect(load).toThrow(
      `sentence_bert_config.json: max_seq_length needs 3 at least, for 2 special tokens and one of a text, got ${longest}`,
    )
    open.close()
  }
  const open = ofLength(3)
  expect(scope(() => sentenceEncoder(open).encode('cat cat'))).toHaveLength(3)
  open.close()
  const settings = { pooling: 'mean', normalize: false, lowerCase: false } as const
  expect(() => longestText({ ...settings, longest: 9 }, 2, 2)).toThrow(
    /^config\.json: max_position_embeddings/,
  )
  expect(longestText({ ...settings, longest: 9 }, 8, 2)).toBe(8)
  expect(longestText(settings, 8, 2)).toBe(8)
})

describe('families', () => {
  test('a language model makes no vectors, and an encoder no text', async () => {
    const open = openModel(fixturePath('llama-tied'))
    expect(open.family).toBe('llama')
    expect(() => embedTexts(open, ['a'])).toThrow(OptionError)
    expect(() => embedTexts(open, ['a'])).toThrow(
      /llama-tied: a text encoder \(bert\) .* llama language model/,
    )
    open.close()
    const refused = { code: 'PARE_E_NO_LANGUAGE_MODEL' }
    expect(() => openLanguageModel(encoderPath('bert-head'))).toThrow(expect.objectContaining(refused))
    await expect(loadLanguageModel(encoderPath('bert-head'))).rejects.toThrow(/bert text encoder; embedTexts/)
  })
  test('an architecture of no family is named with those that there are', () => {
    const path = join(folder, 'other')
    cpSync(fixturePath('llama-tied'), path, { recursive: true })
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))
    writeFileSync(join(path, 'config.json'), JSON.stringify({ ...config, model_type: 'gpt2' }))
    expect(() => openModel(path)).toThrow(/gpt2 is not supported; Pare computes llama, mistral, qwen2, bert/)
  })
})

const minilm = asset('models/minilm')
test.skipIf(!minilm)('MiniLM of PARE_ASSETS: near sentences are nearer than far ones', () => {
  const open = openModel(minilm!)
  const found = embedTexts(open, [
    'A cat sits on the mat.',
    'A kitten is lying on a rug.',
    'The parliament voted on the new tax.',
  ])
  open.close()
  const cosine = (i: number, j: number) => found[i]!.reduce((sum, x, k) => sum + x * found[j]![k]!, 0)
  expect(found[0]).toHaveLength(384)
  expect(cosine(0, 1)).toBeGreaterThan(2 * cosine(0, 2))
})
