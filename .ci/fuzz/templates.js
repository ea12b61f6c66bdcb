/** Chat templates put together from pieces that loop, recurse, grow and reach for what is not theirs. */
import { damageBytes } from './bytes.js'

const pick = (random, list) => random.pick(list)

const atoms = [
  "'x'",
  "'ab' * 3",
  '1',
  '0',
  '-1',
  '2.5',
  '99999999999',
  'true',
  'none',
  '[]',
  '{}',
  'messages',
  'm',
  'x',
  'ns.s',
  'loop.index',
  'messages[0]',
  "messages[0]['content']",
  'messages[-1].role',
  'bos_token',
  'range(9)',
  'range(100000)',
  'undefined_name',
  "namespace(s='x')",
  "{'a': [1, 2]}",
  '[1, [2, [3]]]',
  "'x' in messages",
  'strftime_now',
  "'__proto__'",
  "'constructor'",
]
const filters = [
  'length',
  'upper',
  'lower',
  'trim',
  'first',
  'last',
  'list',
  'tojson',
  'tojson(indent=4)',
  'tojson(indent=9999999)',
  'join',
  "join(',')",
  'join(ns.s)',
  "replace('x', ns.s)",
  "replace('', 'xx')",
  'reverse',
  'sort',
  "sort(attribute='role')",
  'unique',
  'items',
  'dictsort',
  'string',
  'int',
  'float',
  'abs',
  'indent',
  'indent(1000000)',
  "selectattr('role', 'equalto', 'user')",
  "rejectattr('x')",
  "map(attribute='content')",
  "map('upper')",
  "default('x')",
  'safe',
  'capitalize',
  'title',
  'batch(2)',
  'sum',
  'nothing',
  'slice(3)',
  "groupby('role')",
]
const members = [
  '.content',
  "['content']",
  '[0]',
  '[-1]',
  '[1:]',
  '[::-1]',
  '[::0]',
  '[0:99999999]',
  '.items()',
  '.keys()',
  '.values()',
  '.get("role")',
  '.split("x")',
  ".split('')",
  ".replace('x', ns.s)",
  '.upper()',
  '.strip()',
  '.rstrip("x")',
  '.startswith("x")',
  '.format(1)',
  '.append(1)',
  '.constructor',
  '.__proto__',
  '.__class__.__mro__',
  "['constru' ~ 'ctor']",
  '.prototype',
  '.call',
  '(1)',
  '(*messages)',
  '(**m)',
  '.length',
  '.toString()',
  '.title()',
  '.isdigit()',
  '.count("x")',
  '.s',
]
const operators = [
  ' + ',
  ' - ',
  ' * ',
  ' / ',
  ' % ',
  ' // ',
  ' ** ',
  ' ~ ',
  ' and ',
  ' or ',
  ' == ',
  ' != ',
  ' < ',
  ' > ',
  ' in ',
  ' not in ',
  ' is ',
  ' if ',
]
const tests = [
  'defined',
  'none',
  'string',
  'mapping',
  'iterable',
  'number',
  'odd',
  'even',
  'true',
  'equalto(1)',
  'nothing',
]

function expression(random, depth = 3) {
  if (depth === 0 || random.once(4)) return pick(random, atoms)
  switch (random.below(7)) {
    case 0:
      return `${expression(random, depth - 1)}|${pick(random, filters)}`
    case 1:
      return `(${expression(random, depth - 1)})${pick(random, members)}`
    case 2:
      return `(${expression(random, depth - 1)}${pick(random, operators)}${expression(random, depth - 1)})`
    case 3:
      return `(${expression(random, depth - 1)} is ${pick(random, tests)})`
    case 4:
      return `[${expression(random, depth - 1)}, ${expression(random, depth - 1)}]`
    case 5:
      return `f(${expression(random, depth - 1)})`
    default:
      return `${pick(random, atoms)}${pick(random, members)}`
  }
}

function statement(random, depth = 3) {
  const inner = () => (depth === 0 ? '' : block(random, depth - 1))
  switch (random.below(12)) {
    case 0:
      return `{% for x in ${expression(random)} %}${inner()}{% endfor %}`
    case 1:
      return `{% for i in range(${pick(random, [3, 100, 10_000, 1_000_000, 100_000_000])}) %}${inner()}{% endfor %}`
    case 2:
      return `{% if ${expression(random)} %}${inner()}{% elif x %}${inner()}{% else %}${inner()}{% endif %}`
    case 3:
      return `{% set x = ${expression(random)} %}`
    case 4:
      return `{% set ns.s = ns.s ${pick(random, ['~', '+', '*'])} ${pick(random, ['ns.s', "'x'", expression(random)])} %}`
    case 5:
      return `{% set x %}${inner()}{% endset %}`
    case 6:
      return `{% macro f(a=${expression(random, 1)}) %}${inner()}{{ ${pick(random, ['f(a)', 'a', 'f(a) ~ f(a)', 'caller()'])} }}{% endmacro %}`
    case 7:
      return `{% filter ${pick(random, filters)} %}${inner()}{% endfilter %}`
    case 8:
      return `{% call f() %}${inner()}{% endcall %}`
    case 9:
      return pick(random, [
        '{% break %}',
        '{% continue %}',
        '{% endfor %}',
        '{% include "x" %}',
        '{% import "os" as x %}',
        '{# x #}',
        '{%- -%}',
        '{{',
        '}}',
        '{% raw %}{{ x }}{% endraw %}',
        '{% generation %}x{% endgeneration %}',
        "{{ raise_exception('no') }}",
        "{{ strftime_now('%d %b %Y') }}",
        "{{ strftime_now('%Q') }}",
        ' '.repeat(600),
        'x'.repeat(2000),
      ])
    case 10:
      return `{% for m in messages recursive %}${inner()}{{ loop(messages) }}{% endfor %}`
    default:
      return `{{ ${expression(random)} }}`
  }
}

const block = (random, depth = 3) =>
  Array.from({ length: random.between(1, 3) }, () => statement(random, depth)).join(
    random.pick(['', ' ', '\n']),
  )

const nested = (random) => {
  const depth = random.pick([10, 100, 399, 401, 1000, 20_000])
  const [open, middle, close] = random.pick(
    [
      ['{{ ', '(', '1', ')', ' }}'],
      ['{{ ', '[', '1', ']', ' }}'],
      ['{{ ', '-', '1', '', ' }}'],
      ['{{ ', 'not ', '1', '', ' }}'],
      ['{{ ', '1 ~ ', '1', '', ' }}'],
      ['', '{% if 1 %}', 'x', '{% endif %}', ''],
      ['', '{% for i in [1] %}', 'x', '{% endfor %}', ''],
    ].map(([before, left, core, right, after]) => [
      before + left.repeat(depth),
      core,
      right.repeat(depth) + after,
    ]),
  )
  return open + middle + close
}

/** Loops in loops over ranges, and texts that double, are the ways to work without end. */
export function templateOf(originals, random) {
  const start = "{% set ns = namespace(s='xxxxxxxx') %}"
  switch (random.below(6)) {
    case 0:
      return damageBytes(random.pick(originals), random)
    case 1:
      return Buffer.from(nested(random))
    case 2: {
      const original = Buffer.from(random.pick(originals)).toString()
      const at = random.below(original.length)
      return Buffer.from(`${start}${original.slice(0, at)}${block(random, 2)}${original.slice(at)}`)
    }
    default:
      return Buffer.from(`${random.once(3) ? '' : start}${block(random, 4)}`)
  }
}
