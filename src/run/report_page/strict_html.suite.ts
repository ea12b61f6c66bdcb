/** A reader of HTML that takes only what the page may be made of, so that a test sees every tag that there is. */

export interface Tag {
  name: string
  /** Whether it ends an element. */
  closing: boolean
  attributes: readonly (readonly [name: string, value: string])[]
}

/** Elements without an end. */
const alone = new Set(['meta', 'br'])
/** SVG elements that end themselves. */
const tagPattern = /<(\/?)([a-z][a-z0-9]*)((?: [A-Za-z][A-Za-z-]*="[^"<>]*")*)(\/?)>/y
const attributePattern = / ([A-Za-z][A-Za-z-]*)="([^"]*)"/g

/** All tags in their order. @throws Error where anything is not well formed, or an element does not end. */
export function readTags(page: string): Tag[] {
  const start = '<!doctype html>\n'
  if (!page.startsWith(start)) throw new Error('no doctype')
  const tags: Tag[] = []
  const open: string[] = []
  let at = start.length
  while (at < page.length) {
    const next = page.indexOf('<', at)
    checkText(page.slice(at, next < 0 ? page.length : next), open.at(-1))
    if (next < 0) break
    tagPattern.lastIndex = next
    const match = tagPattern.exec(page)
    if (!match) throw new Error(`no tag: ${page.slice(next, next + 80)}`)
    const [whole, slash, name, attributes, ended] = match
    at = next + whole.length
    tags.push({
      name: name!,
      closing: slash === '/',
      attributes: [...attributes!.matchAll(attributePattern)].map(
        ([, key, value]) => [key!, value!] as const,
      ),
    })
    if (slash === '/') {
      const expected = open.pop()
      if (expected !== name) throw new Error(`</${name}> ends <${expected}>`)
    } else if (ended !== '/' && !alone.has(name!)) open.push(name!)
  }
  if (open.length > 0) throw new Error(`not ended: ${open.join(', ')}`)
  return tags
}

function checkText(text: string, parent: string | undefined): void {
  // A style sheet is no text.
  if (parent === 'style') return
  if (/[<>"`]/.test(text)) throw new Error(`not escaped: ${text.slice(0, 80)}`)
  if (/[\0-\x08\x0b-\x1f\x7f]/.test(text))
    throw new Error(`a control character: ${JSON.stringify(text.slice(0, 80))}`)
  if (text.replace(/&(?:[a-z]+|#\d+);/g, '').includes('&')) throw new Error(`no entity: ${text.slice(0, 80)}`)
}
