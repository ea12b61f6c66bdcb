/** Damage to JSON that knows its grammar: keys twice, numbers that no type holds, nesting without end, values that change places. */
import { damageBytes } from './bytes.js'
import { names, numberTexts, texts } from './hostile_values.js'

const encoder = new TextEncoder()

/** A tree that can say what `JSON.parse` would lose: the order and the repetition of keys, numbers as they are written. */
export function treeOf(value) {
  if (Array.isArray(value)) return { kind: 'list', items: value.map(treeOf) }
  if (typeof value === 'object' && value !== null)
    return { kind: 'map', pairs: Object.entries(value).map(([key, inner]) => [key, treeOf(inner)]) }
  return { kind: 'text', text: JSON.stringify(value) }
}

const quoted = (text) => JSON.stringify(text)

export function writeTree(node) {
  if (node.kind === 'text') return node.text
  if (node.kind === 'list') return `[${node.items.map(writeTree).join(',')}]`
  return `{${node.pairs.map(([key, inner]) => `${quoted(key)}:${writeTree(inner)}`).join(',')}}`
}

/** Every place of a tree that holds a value: how to read it and how to put another one there. */
function placesOf(root) {
  const places = [{ node: root.top, put: (node) => (root.top = node) }]
  for (let i = 0; i < places.length; i++) {
    const { node } = places[i]
    if (node.kind === 'list')
      for (const [at, inner] of node.items.entries())
        places.push({ node: inner, put: (other) => (node.items[at] = other) })
    if (node.kind === 'map')
      for (const pair of node.pairs) places.push({ node: pair[1], put: (other) => (pair[1] = other) })
  }
  return places
}

const text = (value) => ({ kind: 'text', text: value })
const deep = (random) => {
  const depth = random.pick([10, 63, 64, 65, 127, 129, 1000, 6000, 20_000])
  const [open, close] = random.pick([
    ['[', ']'],
    ['{"a":', '}'],
    ['{"type":"Sequence","normalizers":[', ']}'],
    ['{"type":"Sequence","pretokenizers":[', ']}'],
    ['{"kind":"sum","shape":[32,32],"terms":[', ']}'],
  ])
  return text(`${open.repeat(depth)}${open.endsWith(':') ? '1' : ''}${close.repeat(depth)}`)
}

/** A value of any kind that does not belong where it is put. */
const stranger = (random) =>
  random.pick([
    () => text(random.pick(numberTexts)),
    () => text(random.pick(numberTexts)),
    () =>
      text(
        random.pick(['null', 'true', 'false', '[]', '{}', '""', '[[]]', '[null]', '[0]', '[-1]', '{"a":{}}']),
      ),
    () => text(quoted(texts(random))),
    () => deep(random),
    () =>
      text(
        `[${Array(random.pick([2, 100, 5000]))
          .fill(random.pick(numberTexts.slice(0, 12)))
          .join(',')}]`,
      ),
  ])()

const changes = [
  (places, random) => random.pick(places).put(stranger(random)),
  (places, random) => random.pick(places).put(stranger(random)),
  // Numbers are most of what readers calculate with.
  (places, random) => {
    const found = places.filter(({ node }) => node.kind === 'text' && /^-?\d/.test(node.text))
    if (found.length > 0) random.pick(found).put(text(random.pick(numberTexts)))
  },
  (places, random) => {
    const found = places.filter(({ node }) => node.kind === 'text' && /^-?\d+$/.test(node.text))
    if (found.length === 0) return
    const place = random.pick(found)
    place.put(text(String(BigInt(place.node.text) + BigInt(random.pick([-1, 1, 2, 8, -8])))))
  },
  (places, random) => {
    const found = places.filter(({ node }) => node.kind === 'text' && node.text.startsWith('"'))
    if (found.length > 0) random.pick(found).put(text(quoted(texts(random))))
  },
  (places, random) => random.pick(places).put(random.pick(places).node),
  (places, random) => {
    const maps = places.filter(({ node }) => node.kind === 'map' && node.pairs.length > 0)
    if (maps.length === 0) return
    const { pairs } = random.pick(maps).node
    const pair = random.pick(pairs)
    switch (random.below(4)) {
      case 0:
        pairs.splice(pairs.indexOf(pair), 1)
        break
      case 1:
        pairs.push([pair[0], pair[1]])
        break
      case 2:
        pairs.push([random.pick(names), pair[1]])
        break
      default:
        pair[0] = random.once(2) ? random.pick(names) : random.pick(pairs)[0]
    }
  },
  (places, random) => {
    const lists = places.filter(({ node }) => node.kind === 'list')
    if (lists.length === 0) return
    const { items } = random.pick(lists).node
    switch (random.below(4)) {
      case 0:
        items.splice(random.below(items.length + 1), 1)
        break
      case 1:
        items.splice(random.below(items.length + 1), 0, stranger(random))
        break
      case 2:
        items.reverse()
        break
      default:
        for (let i = random.pick([1, 3, 300]); i > 0 && items.length > 0 && items.length < 3000; i--)
          items.push(items[0])
    }
  },
]

/** A JSON text with one to three changes; sometimes bytes are damaged behind them, or alone. */
export function damageJson(bytes, random) {
  if (random.once(8)) return damageBytes(bytes, random)
  const root = { top: treeOf(JSON.parse(Buffer.from(bytes).toString())) }
  for (let i = random.pick([0, 0, 0, 1, 2]); i >= 0; i--) {
    const places = placesOf(root)
    random.pick(changes)(places, random)
    // A value that stands in itself, or in many places at once, has no end when it is written.
    if (sizeOf(root.top) > 1_000_000) return damageBytes(bytes, random)
  }
  const result = encoder.encode(writeTree(root.top))
  return random.once(12) ? damageBytes(result, random) : result
}

/** Characters of a tree, at most a little more than the limit; a circle counts as too many. */
function sizeOf(top, limit = 1_000_000) {
  let size = 0
  const open = [top]
  while (open.length > 0 && size <= limit) {
    const node = open.pop()
    size += 1 + (node.text?.length ?? 0)
    if (node.kind === 'list') open.push(...node.items)
    if (node.kind === 'map') for (const [, inner] of node.pairs) open.push(inner)
  }
  return size
}
