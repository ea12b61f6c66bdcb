import fc from 'fast-check'
import { expect, test } from 'vitest'
import { html, Markup, type Part } from './markup.ts'

test('what is put into a template is escaped, and markup of another template is not', () => {
  const name = `<img src=x onerror="alert('1')">&\``
  expect(html`<b title="${name}">${html`<i>${name}</i>`}</b>`.toString()).toBe(
    '<b title="&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;&#96;"><i>&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;&#96;</i></b>',
  )
})
test('lists are joined, and nothing is nothing', () => {
  expect(html`${[1, [html`<br>`, undefined, null, false], 'a']}${0}`.toString()).toBe('1<br>a0')
})
test('an object that looks like markup is none', () => {
  for (const forged of [
    { text: '<b>', toString: () => '<b>' },
    JSON.parse('{"#text":"<b>"}'),
    Object.create(Markup.prototype),
  ]) {
    expect(Markup.is(forged)).toBe(false)
    let shown = ''
    try {
      shown = html`${forged as Part}`.toString()
    } catch (error) {
      expect(error).toBeInstanceOf(TypeError)
    }
    expect(shown).not.toContain('<')
  }
})
test('no text opens a tag, ends an attribute or begins an entity', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const shown = html`${text}`.toString()
      expect(shown).not.toMatch(/[<>"'`]/)
      expect(shown.replace(/&(?:amp|lt|gt|quot|#39|#96);/g, '')).not.toContain('&')
    }),
  )
})
