import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { OptionError } from '../../tensor/errors.ts'
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
