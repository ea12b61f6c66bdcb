import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OptionError, PareError } from '../../tensor/errors.ts'
import { openGguf } from '../gguf/container.ts'
import { asset, smollm2 } from './assets.suite.ts'
import {
  type ChatMessage,
  chatTemplate,
  chatTemplateSources,
  ggufChatTemplateSources,
  modelChatTemplate,
} from './chat_template.ts'
import { ggufTokenizer } from './gguf_tokenizer.ts'

interface Chat {
  name: string
  template: string
  variables: {
    messages: ChatMessage[]
    tools: unknown[] | null
    add_generation_prompt: boolean
    bos_token: string
    eos_token: string
    [name: string]: unknown
  }
  expected: string
}
const chats: Chat[] = JSON.parse(readFileSync(new URL('golden/chats.json', import.meta.url), 'utf8'))
const code = (expected: string) => expect.objectContaining({ code: expected })
const hi = [{ role: 'user', content: 'hi' }]
const render = (source: string, messages: readonly ChatMessage[] = hi) =>
  chatTemplate(source).render(messages)

test.each(chats)('renders as Python Jinja does: $name', ({ template, variables, expected }) => {
  const { messages, tools, add_generation_prompt, bos_token, eos_token, ...more } = variables
  const text = chatTemplate(template, { bosToken: bos_token, eosToken: eos_token }).render(messages, {
    addGenerationPrompt: add_generation_prompt,
    ...(tools && { tools }),
    variables: more,
    now: new Date('2024-07-26T13:05:09Z'),
  })
  expect(text).toBe(expected)
})
test('rendering leaves the messages as they were', () => {
  const messages = Object.freeze([Object.freeze({ role: 'user', content: Object.freeze(['a']) })])
  expect(render('{{ messages[0].content | join }}', messages)).toBe('a')
})
test('a template that refuses the messages says so in its own words', () => {
  const refuse = () => render("{{ raise_exception('roles must alternate\u001b[31m') }}")
  expect(refuse).toThrow(OptionError)
  expect(refuse).toThrow(/refuses them \(roles must alternate\\u\{1b\}\[31m\)/)
})
test('dates are those of the option, in UTC and English', () => {
  const now = new Date('2025-01-05T00:30:07Z')
  const text = chatTemplate("{{ strftime_now('%A %a %d %B %b %Y %y %m %H:%I:%M:%S %p 100%%') }}").render(hi, {
    now,
  })
  expect(text).toBe('Sunday Sun 05 January Jan 2025 25 01 00:12:30:07 AM 100%')
  expect(() => render("{{ strftime_now('%Q') }}")).toThrow(code('PARE_E_TEMPLATE'))
})

describe('hostile templates end in a typed error quickly', () => {
  const range = (n: number, body: string) => `{% for i in range(${n}) %}${body}{% endfor %}`
  const nested = (n: number): string => (n === 0 ? '' : range(1000, nested(n - 1)))
  const grow = (step: string, start = 'x'.repeat(64)) =>
    `{% set ns = namespace(s='${start}') %}${range(10_000, `{% set ns.s = ${step} %}`)}`
  const big = `{% set big = 'x' %}{% for i in range(20) %}{% endfor %}${grow('ns.s + ns.s if ns.s|length < 1000000 else ns.s')}`
  const limit = 'PARE_E_TEMPLATE_LIMIT'
  const cases: [string, string, string][] = [
    ['endless nested loops', nested(5), limit],
    [
      'a loop without a body',
      `{% set r = range(100000) %}${range(100_000, '{% for j in r %}{% endfor %}')}`,
      limit,
    ],
    ['a huge range', '{{ range(1000000000) }}', limit],
    ['a huge falling range', '{{ range(0, -1000000000, -1) }}', limit],
    ['text that doubles', grow('ns.s ~ ns.s'), limit],
    ['text that doubles by +', grow('ns.s + ns.s'), limit],
    [
      'text that doubles in a block',
      `{% set ns = namespace(s='xx') %}${range(99, '{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}')}`,
      limit,
    ],
    ['lists that double', grow('ns.s + ns.s', '').replace("s=''", 's=[1]'), limit],
    [
      'lists of themselves',
      `{% set ns = namespace(s=[1]) %}${range(99, '{% set ns.s = [ns.s, ns.s] %}')}{{ ns.s }}`,
      limit,
    ],
    [
      'lists nested one by one',
      `{% set ns = namespace(s=[1]) %}${range(9999, '{% set ns.s = [ns.s] %}')}{{ ns.s|tojson }}`,
      limit,
    ],
    ['a namespace in itself', '{% set ns = namespace() %}{% set ns.s = ns %}{{ ns }}', limit],
    ['a namespace in a list', '{% set ns = namespace() %}{% set ns.s = [ns] %}{{ ns.s }}', limit],
    ['replace of every character', `${big}{{ ns.s.replace('x', ns.s) }}`, limit],
    ['replace of nothing', `${big}{{ ns.s.replace('', ns.s) }}`, limit],
    ['the replace filter', `${big}{{ ns.s|replace('x', ns.s) }}`, limit],
    ['a filter block', `${big}{% filter replace('x', ns.s) %}{{ ns.s }}{% endfilter %}`, limit],
    ['replace by a computed name', `${big}{{ ns.s['rep' ~ 'lace']('x', ns.s) }}`, limit],
    ['replace through a spread', `${big}{% set a = ['x', ns.s] %}{{ ns.s.replace(*a) }}`, limit],
    ['replace kept in a variable', `${big}{% set f = ns.s.replace %}{{ f('x', ns.s) }}`, 'PARE_E_TEMPLATE'],
    ['replace kept in a list', `${big}{{ [ns.s.replace][0]('x', ns.s) }}`, 'PARE_E_TEMPLATE'],
    ['join with a long separator', `${big}{{ ns.s|join(ns.s) }}`, limit],
    ['join of a list', `${big}{{ range(100000)|join(ns.s) }}`, limit],
    ['indent of a huge width', "{{ 'a\\nb'|indent(500000000) }}", limit],
    ['indent by name', "{{ 'a\\nb'|indent(first=true, width=500000000) }}", limit],
    ['indent through two stars', "{{ 'a\\nb'|indent(**{'width': 500000000}) }}", limit],
    ['split into many', `${big}{{ ns.s.split('x') }}`, limit],
    ['JSON with a huge indent', '{{ [1, [2]]|tojson(indent=500000000) }}', limit],
    ['JSON with a long separator', `${big}{{ range(10000)|tojson(separators=[ns.s, ns.s]) }}`, limit],
    ['a macro that calls itself', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}', limit],
    [
      'macros that call each other twice',
      '{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}',
      limit,
    ],
    ['a search that finds nothing, again and again', `${big}${range(100_000, "{{ 'y' in ns.s }}")}`, limit],
    [
      'a long list searched again and again',
      `{% set r = range(100000) %}${range(100_000, '{{ -1 in r }}')}`,
      limit,
    ],
    ['a long text in upper case again and again', `${big}${range(100_000, '{{ (ns.s|upper)[0] }}')}`, limit],
    [
      'a macro block met again and again',
      range(100_000, `{% macro m() %}${'{{ 1 }}'.repeat(20_000)}{% endmacro %}`),
      limit,
    ],
    ['brackets nested deep', `{{ ${'('.repeat(50_000)}1${')'.repeat(50_000)} }}`, 'PARE_E_TEMPLATE'],
    ['a sum of many terms', `{{ ${'1 + '.repeat(50_000)}1 }}`, limit],
    ['ifs nested deep', '{% if true %}'.repeat(20_000) + '{% endif %}'.repeat(20_000), 'PARE_E_TEMPLATE'],
    ['a run of blanks', `${' '.repeat(400_000)}{% if true %}{% endif %}`, limit],
    ['a text past the limit', `{{ '${'x'.repeat(600_000)}' }}`, limit],
    ['constructor', "{{ ''.constructor.constructor('return process')() }}", 'PARE_E_TEMPLATE_UNSAFE'],
    ['constructor in brackets', "{{ messages['constructor'] }}", 'PARE_E_TEMPLATE_UNSAFE'],
    ['__proto__', '{{ messages.__proto__ }}', 'PARE_E_TEMPLATE_UNSAFE'],
    ['a Python class', "{{ ''.__class__.__mro__ }}", 'PARE_E_TEMPLATE_UNSAFE'],
    [
      'constructor put together',
      "{{ ''['con' ~ 'structor']['con' ~ 'structor']('return process')() }}",
      'PARE_E_TEMPLATE',
    ],
    ['a cut template', '{% for m in messages %}{{ m', 'PARE_E_TEMPLATE'],
    ['an unknown filter', '{{ messages|attr("x") }}', 'PARE_E_TEMPLATE'],
  ]
  test.each(cases)('%s', (_, source, expected) => {
    const start = performance.now()
    const seen = () => chatTemplate(source).render(hi)
    expect(seen).toThrow(code(expected))
    // The limits stop each of them in a second or three; without them they run for minutes or exhaust memory.
    expect(performance.now() - start).toBeLessThan(20_000)
  })
  test('where the stack ends, a variable of an outer scope is found or the template stops', () => {
    const render = (calls: number) =>
      chatTemplate(
        `{% macro f(n) %}{% if n < ${calls} %}{{ f(n + 1) }}{% endif %}{{ bos_token }}{% endmacro %}{{ f(0) }}`,
        { bosToken: 'x', limits: { depth: 100_000 } },
      ).render(hi)
    const allCalls = () => {
      for (let calls = 50; ; calls += 50) expect(render(calls)).toBe('x'.repeat(calls + 1))
    }
    expect(allCalls).toThrow(code(limit))
  })
  test('the same template stops at the same step each time', () => {
    const template = range(1000, range(1000, '{{ i }}'))
    const steps = (n: number) => () => chatTemplate(template, { limits: { steps: n } }).render(hi)
    expect(steps(1_000_000)).toThrow(/takes more than 1000000 steps/)
    const small = range(10, '{{ i }}')
    let least = 0
    while (true) {
      try {
        chatTemplate(small, { limits: { steps: least } }).render(hi)
        break
      } catch (error) {
        expect(error).toEqual(code(limit))
        least++
      }
    }
    for (let again = 0; again < 3; again++) {
      expect(chatTemplate(small, { limits: { steps: least } }).render(hi)).toBe('0123456789')
      expect(() => chatTemplate(small, { limits: { steps: least - 1 } }).render(hi)).toThrow(code(limit))
    }
  })
})
test('names of attributes that come from the data are only keys', () => {
  const messages = [{ role: 'user', content: '', fields: JSON.parse('{"constructor":"a","__proto__":"b"}') }]
  const template =
    '{% for k, v in messages[0].fields.items() %}{{ k }}={{ v }}{{ messages[0].fields[k] }};{% endfor %}'
  expect(render(template, messages)).toBe('constructor=aa;__proto__=bb;')
})
test('long chats stay within the default limits, which grow with them', () => {
  const messages = Array.from({ length: 2000 }, (_, i) => ({
    role: i % 2 ? 'assistant' : 'user',
    content: `${i} ${'word '.repeat(400)}`,
  }))
  for (const { name, template } of chats.filter(({ name }) => !name.startsWith('tools'))) {
    const text = chatTemplate(template).render(messages)
    expect([name, text.length > 4_000_000]).toEqual([name, name !== 'no messages' || text.length > 4_000_000])
  }
  const lookBack = `{% for m in messages %}{% if loop.index0 > 0 and messages[loop.index0 - 1].role == m.role %}!{% endif %}{% if loop.index == messages|length %}{{ m.content }}{% endif %}{% endfor %}`
  expect(render(lookBack, messages)).toBe(messages.at(-1)!.content)
})
test('any text either renders or ends in an error of Pare', () => {
  const pieces = [
    '{{',
    '}}',
    '{%',
    '%}',
    ' for m in messages ',
    ' endfor ',
    ' if ',
    ' endif ',
    'm.role',
    '|',
    'tojson',
    '(',
    ')',
    '[',
    ']',
    '+',
    '~',
    "'a'",
    ' set x = ',
    ' macro f(a) ',
    ' endmacro ',
    'f(1)',
    '{#',
    '#}',
    '-',
    '\\',
    '1',
    '.',
    ',',
    ':',
    '*',
    ' call f() ',
    ' endcall ',
    ' filter upper ',
    ' endfilter ',
    ' is ',
    ' not ',
    '\n',
  ]
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 24 }), (parts) => {
      try {
        expect(typeof render(parts.join(''))).toBe('string')
      } catch (error) {
        expect(error).toBeInstanceOf(PareError)
      }
    }),
    { numRuns: 2000 },
  )
})
test('messages that are no plain data are refused', () => {
  const loop: ChatMessage = { role: 'user' }
  loop.content = loop
  expect(() => render('x', [loop])).toThrow(code('PARE_E_MESSAGES'))
  expect(render('{{ messages[0].call is defined }}', [{ role: 'user', call: () => 1 }])).toBe('False')
})

describe('templates of a model folder', () => {
  const inFolder = <T>(files: Record<string, string>, use: (folder: string) => T): T => {
    const folder = mkdtempSync(join(tmpdir(), 'pare-chat-'))
    try {
      for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
      return use(folder)
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
  const config = (chat_template: unknown) => JSON.stringify({ chat_template })

  test('a string is the default template', () => {
    expect(inFolder({ 'tokenizer_config.json': config('a') }, chatTemplateSources)).toEqual(
      new Map([['default', 'a']]),
    )
  })
  test('a list gives templates by name', () => {
    const list = [
      { name: 'default', template: 'a' },
      { name: 'tool_use', template: 'b' },
    ]
    expect([...inFolder({ 'tokenizer_config.json': config(list) }, chatTemplateSources)]).toEqual([
      ['default', 'a'],
      ['tool_use', 'b'],
    ])
  })
  test('chat_template.jinja wins over the configuration', () => {
    const files = { 'tokenizer_config.json': config('a'), 'chat_template.jinja': 'c' }
    expect(inFolder(files, chatTemplateSources).get('default')).toBe('c')
  })
  test('a folder without templates has none, and damaged JSON is refused', () => {
    expect(inFolder({}, chatTemplateSources).size).toBe(0)
    expect(() => inFolder({ 'tokenizer_config.json': '{' }, chatTemplateSources)).toThrow(code('PARE_E_JSON'))
  })
})

const model = asset(smollm2)
test.skipIf(model === undefined)(
  'SmolLM2 renders a chat that its tokenizer reads as special tokens (needs PARE_ASSETS)',
  async () => {
    const metadata = openGguf(model!).metadata
    const tokenizer = ggufTokenizer(metadata)
    const template = modelChatTemplate(ggufChatTemplateSources(metadata), tokenizer)
    const text = template.render([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true })
    expect(text).toBe(
      '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
    )
    const ids = tokenizer.encode(text)
    expect([ids[0], tokenizer.bosId]).toEqual([1, 1])
    expect(ids.filter((id) => id === tokenizer.eosIds[0]).length).toBe(2)
    expect(() => modelChatTemplate(new Map(), tokenizer)).toThrow(code('PARE_E_NO_TEMPLATE'))
  },
)
