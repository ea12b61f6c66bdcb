import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PareError } from '../../tensor/errors.ts'
import { chatTemplate } from './chat_template.ts'

const code = (expected: string) => expect.objectContaining({ code: expected })
const hi = [{ role: 'user', content: 'hi' }]

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
    [
      'replace kept in a variable',
      `{% set ns = namespace(s='xx') %}{% set f = ns.s.replace %}{{ f('x', ns.s) }}`,
      'PARE_E_TEMPLATE',
    ],
    [
      'replace kept in a list',
      `{% set ns = namespace(s='xx') %}{{ [ns.s.replace][0]('x', ns.s) }}`,
      'PARE_E_TEMPLATE',
    ],
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
    ['ifs nested deep', '{% if true %}'.repeat(10_000) + '{% endif %}'.repeat(10_000), 'PARE_E_TEMPLATE'],
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
    // The limits stop each of them within a second of the processor; without them they run for minutes or exhaust memory.
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
        expect(typeof chatTemplate(parts.join('')).render(hi)).toBe('string')
      } catch (error) {
        expect(error).toBeInstanceOf(PareError)
      }
    }),
    { numRuns: 2000 },
  )
})
