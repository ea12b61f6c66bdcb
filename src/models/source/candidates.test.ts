import { expect, test } from 'vitest'
import { SourceError } from '../../tensor/errors.ts'
import { chooseCandidate, findCandidates, neededFiles } from './candidates.ts'

const paths = (names: string[]) => findCandidates(names).map(({ path }) => path)
const describe = (path: string) => `pypi:a==1/${path}`

test('gguf files and folders with config.json and safetensors are models; nothing else is', () => {
  expect(
    paths([
      'a.gguf',
      'sub/B.GGUF',
      'hf/config.json',
      'hf/model.safetensors',
      'x/config.json',
      'y/model.safetensors',
      'z.bin',
    ]),
  ).toEqual(['a.gguf', 'hf', 'sub/B.GGUF'])
})
test('the shards of a gguf are one model, named by the first', () => {
  const names = ['m/a-00002-of-00002.gguf', 'm/a-00001-of-00002.gguf', 'm/b-00001-of-00001.gguf']
  expect(findCandidates(names)).toEqual([
    {
      kind: 'gguf',
      path: 'm/a-00001-of-00002.gguf',
      weights: ['m/a-00001-of-00002.gguf', 'm/a-00002-of-00002.gguf'],
    },
    { kind: 'gguf', path: 'm/b-00001-of-00001.gguf', weights: ['m/b-00001-of-00001.gguf'] },
  ])
})
test('sidecars of a gguf are no models', () => {
  expect(paths(['a.gguf', 'mmproj-a.gguf', 'mtp-a.gguf'])).toEqual(['a.gguf'])
})
test('one model is chosen unasked', () => {
  expect(chooseCandidate(findCandidates(['a.gguf', 'x.py']), { subject: 's', describe }).path).toBe('a.gguf')
})
test('several models are listed, and the message shows how to choose one', () => {
  const candidates = findCandidates(['p/a.gguf', 'p/b.gguf'])
  const choose = (member?: string) => chooseCandidate(candidates, { subject: 'pypi:a==1', member, describe })
  expect(() => choose()).toThrow(
    /found 2 models: p\/a\.gguf, p\/b\.gguf; choose one, for example pypi:a==1\/p\/a\.gguf/,
  )
  expect(() => choose()).toThrow(expect.objectContaining({ code: 'PARE_E_SOURCE_CANDIDATES' }))
  expect(() => choose('p/c.gguf')).toThrow(/no model "p\/c\.gguf" but: p\/a\.gguf/)
  expect(choose('p/b.gguf').path).toBe('p/b.gguf')
})
test('a folder and any shard can be named too', () => {
  const candidates = findCandidates([
    'm/config.json',
    'm/x.safetensors',
    'a-00001-of-00002.gguf',
    'a-00002-of-00002.gguf',
  ])
  const choose = (member: string) => chooseCandidate(candidates, { subject: 's', member, describe })
  expect(choose('m').kind).toBe('folder')
  expect(choose('a-00002-of-00002.gguf').path).toBe('a-00001-of-00002.gguf')
})
test('no model is an error of its own that says what would be one', () => {
  const choose = () => chooseCandidate([], { subject: 's', describe })
  expect(choose).toThrow(SourceError)
  expect(choose).toThrow(/\.gguf file or a folder with config\.json/)
})
test('a model of a folder needs its descriptions, its weights and the licences around, and no code', () => {
  const names = [
    'pkg/__init__.py',
    'pkg/m/config.json',
    'pkg/m/generation_config.json',
    'pkg/m/tokenizer.json',
    'pkg/m/tokenizer_config.json',
    'pkg/m/chat_template.jinja',
    'pkg/m/model-1.safetensors',
    'pkg/m/model.safetensors.index.json',
    'pkg/m/modeling_custom.py',
    'pkg/m/pytorch_model.bin',
    'pkg/m/other.gguf',
    'pkg/LICENSE',
    'pkg/other/LICENSE',
    'pkg-1.dist-info/licenses/vendor/NOTICE.txt',
    'pkg-1.dist-info/COPYING',
    'pkg-1.dist-info/METADATA',
    'COPYING.LESSER',
    'licensed.py',
  ]
  const candidate = findCandidates(names).find(({ kind }) => kind === 'folder')!
  expect(neededFiles(candidate, names)).toEqual(
    [
      'COPYING.LESSER',
      'pkg-1.dist-info/COPYING',
      'pkg-1.dist-info/licenses/vendor/NOTICE.txt',
      'pkg/LICENSE',
      'pkg/m/chat_template.jinja',
      'pkg/m/config.json',
      'pkg/m/generation_config.json',
      'pkg/m/model-1.safetensors',
      'pkg/m/model.safetensors.index.json',
      'pkg/m/tokenizer.json',
      'pkg/m/tokenizer_config.json',
    ].sort(),
  )
})
test('a sentence encoder needs the list of its steps and their settings', () => {
  const names = [
    'pkg/m/config.json',
    'pkg/m/model.safetensors',
    'pkg/m/modules.json',
    'pkg/m/sentence_bert_config.json',
    'pkg/m/1_Pooling/config.json',
    'pkg/m/1_Pooling/other.json',
    'pkg/m/deep/1_Pooling/config.json',
    'pkg/1_Pooling/config.json',
  ]
  const [candidate] = findCandidates(names)
  expect(neededFiles(candidate!, names)).toEqual([...names.slice(0, 5)].sort())
})
test('a Pare folder needs the file that says how its weights are put together', () => {
  const names = ['config.json', 'model.safetensors', 'notes.json', 'pare.json']
  const [candidate] = findCandidates(names)
  expect(neededFiles(candidate!, names)).toEqual(['config.json', 'model.safetensors', 'pare.json'])
})
test('of several gguf files only the chosen one is needed', () => {
  const names = ['p/a.gguf', 'p/b.gguf', 'p/README.md', 'LICENSE']
  const [a] = findCandidates(names)
  expect(neededFiles(a!, names)).toEqual(['LICENSE', 'p/README.md', 'p/a.gguf'])
})
