/** Hostile tokenizers, templates and journals. */
import { beside, bytesOf, tokenizers } from './tokenizer_originals.js'

const encoder = new TextEncoder()
const tokenizer = (name, expect, change, original = 0) => {
  const json = JSON.parse(Buffer.from(tokenizers[original]).toString())
  change(json)
  return { reader: 'tokenizer', name, expect, files: { ...beside, 'tokenizer.json': bytesOf(json) } }
}
const set = (fields) => (json) => Object.assign(json, fields)
const split = (Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })
const damaged = 'PARE_E_TOKENIZER_JSON'
const rules = 'PARE_E_TOKENIZER_RULES'
const tokenizersOf = [
  ...tokenizers.map((_, i) => tokenizer(`tokenizer ${i} as it was`, 'opens', () => {}, i)),
  tokenizer(
    'a decoder that cuts more than there is',
    rules,
    set({ decoder: { type: 'Strip', content: 'a', start: 0, stop: 9 } }),
  ),
  tokenizer('pieces of no length', rules, set({ pre_tokenizer: { type: 'FixedLength', length: 0 } })),
  tokenizer(
    'a table of characters that is none',
    damaged,
    set({ normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAAA' } }),
  ),
  tokenizer('an added token of 65,536 bytes', damaged, ({ added_tokens }) =>
    Object.assign(added_tokens[1], { content: 'x'.repeat(65_536) }),
  ),
  tokenizer('an id of 2^32 - 1', damaged, ({ added_tokens }) =>
    Object.assign(added_tokens[1], { id: 2 ** 32 - 1 }),
  ),
  tokenizer(
    'replacements that grow without end',
    damaged,
    set({
      normalizer: {
        type: 'Sequence',
        normalizers: Array(40).fill({ type: 'Replace', pattern: { String: 'a' }, content: 'aaaaaaaa' }),
      },
    }),
  ),
  tokenizer(
    'a decoder that grows without end',
    damaged,
    set({ decoder: { type: 'Replace', pattern: { String: 'a' }, content: 'x'.repeat(5000) } }),
  ),
  ...['a{1000}{1000}{1000}', '(a+)+$', '(?:a|a)*b', '(.*)*$', '(?=(.*a){20})'].map((expression) =>
    tokenizer(`the expression ${expression}`, 'ends', set({ pre_tokenizer: split(expression) })),
  ),
  ...['(', '(?<x>'].map((expression) =>
    tokenizer(`the expression ${expression}`, damaged, set({ pre_tokenizer: split(expression) })),
  ),
  {
    reader: 'tokenizer',
    name: 'sequences 20,000 deep',
    expect: damaged,
    files: {
      ...beside,
      'tokenizer.json': encoder.encode(
        Buffer.from(tokenizers[0])
          .toString()
          .replace(
            '"normalizer":null',
            `"normalizer":${'{"type":"Sequence","normalizers":['.repeat(20_000)}${']}'.repeat(20_000)}`,
          ),
      ),
    },
  },
]

const template = (name, expect, source) => ({
  reader: 'chat-template',
  name,
  expect,
  files: { 'chat_template.jinja': encoder.encode(source) },
})
const range = (count, body) => `{% for i in range(${count}) %}${body}{% endfor %}`
const doubled = (times) => `{% set ns = namespace(s='x') %}${range(times, '{% set ns.s = ns.s ~ ns.s %}')}`
const limit = 'PARE_E_TEMPLATE_LIMIT'
const templates = [
  template('loops in loops', limit, range(100_000, range(100_000, 'x'))),
  template('numbers without end', limit, '{{ range(1000000000)|length }}'),
  template('a text that doubles', limit, doubled(99)),
  template(
    'a large text replaced again and again',
    limit,
    `${doubled(18)}${range(10_000, "{% set y = ns.s.replace('x', 'y') %}")}`,
  ),
  template(
    'a large text cut again and again',
    limit,
    `${doubled(16)}${range(10_000, "{% set y = ns.s.split('x') %}")}`,
  ),
  template('a long list sorted', limit, '{% set r = range(200000)|list %}{{ r|sort|list|sort|list|length }}'),
  template(
    'mappings in a loop',
    limit,
    range(100_000, "{% set d = {'a': 1, 'b': [1, 2, 3], 'c': {'d': i}} %}{{ d.c.d }}"),
  ),
  template(
    'a macro that calls itself twice',
    limit,
    '{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}',
  ),
  template(
    'the constructor',
    'PARE_E_TEMPLATE_UNSAFE',
    "{{ ''.constructor.constructor('return process')() }}",
  ),
  template('brackets 50,000 deep', 'PARE_E_TEMPLATE', `{{ ${'('.repeat(50_000)}1${')'.repeat(50_000)} }}`),
  template('ifs 20,000 deep', limit, '{% if 1 %}'.repeat(20_000) + '{% endif %}'.repeat(20_000)),
  template('a run of blanks', limit, `${' '.repeat(400_000)}{% if true %}{% endif %}`),
  template('250,000 characters', 'opens', 'x'.repeat(250_000)),
  template('50,000 tags', 'opens', '{{1}}'.repeat(50_000)),
  template('tags that do not end', 'PARE_E_TEMPLATE', '{{'.repeat(100_000)),
]

const journal = (name, expect, text) => ({
  reader: 'journal',
  name,
  expect,
  files: { 'journal.jsonl': encoder.encode(text) },
})
const run = '{"kind":"run","version":1,"fingerprint":{}}\n'
const journals = [
  journal('one line', 'opens', run),
  journal(
    'a name that leads out',
    'PARE_E_JOURNAL',
    `${run}{"kind":"result","files":[{"name":"../x","bytes":1}],"seconds":1}\n{"kind":"done"}\n`,
  ),
  journal('lists 20,000 deep', 'PARE_E_JOURNAL', `${run}${'['.repeat(20_000)}${']'.repeat(20_000)}\n${run}`),
  journal('200,000 lines', 'PARE_E_JOURNAL', run.repeat(200_000)),
]

export const hostileTexts = [...tokenizersOf, ...templates, ...journals]
